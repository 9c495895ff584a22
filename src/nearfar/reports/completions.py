"""What a language model wrote as training went on: of each held-out text a row for some of the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.figures import mapping

ROWS, TEXTS, PIECES = 7, 6, 200  # shown at most: steps, texts, and parts of a text
Part = tuple[str, str]  # a part of a text, and its style: "" for what was given, "predicted", or "predicted right"


def written_texts(events: Mapping[float, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the kind of model, and of each text its original and what was written after each of a few steps.

    events: the events "completions" by step. Of many steps the first, the last and some between are shown, at even
    distances. Of a masked model a token is right where it is that of the original. {} where there is nothing to show.
    """
    steps = sorted(events)
    steps = [steps[round(i * (len(steps) - 1) / (ROWS - 1))] for i in range(ROWS)] if len(steps) > ROWS else steps
    if not steps:
        return {}
    found, causal = [], events[steps[-1]].get("kind") == "causal"
    for i, text in enumerate(_texts(events[steps[-1]])[:TEXTS]):
        rows = [(step, _parts(texts[i].get("written"))) for step in steps if len(texts := _texts(events[step])) > i]
        original = _parts(text.get("original"))
        rows = [(step, parts if causal else _marked(parts, original)) for step, parts in rows if parts]
        if rows and original:
            found.append({"original": original, "rows": rows})
    return {"causal": causal, "texts": found} if found else {}


def _marked(parts: list[Part], original: list[Part]) -> list[Part]:
    """Return the parts of a text; a hidden one is right where it is the original's hidden one of the same number."""
    theirs = iter([text for text, style in original if style])
    marked = []
    for text, style in parts:
        right = bool(style) and text == next(theirs, None) and bool(text)
        marked.append((text, "predicted right" if right else style))
    return marked


def _texts(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts = event.get("texts")
    return [mapping(text) for text in texts] if isinstance(texts, list) else []


def _parts(given: Any) -> list[Part]:
    """Return the parts of a text; none where one of them is no text with a mark."""
    parts = [part for part in given if isinstance(part, list) and len(part) == 2] if isinstance(given, list) else []
    return [(text, "predicted" if written else "") for text, written in parts[:PIECES] if isinstance(text, str)]
