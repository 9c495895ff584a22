"""The model card: what a user must know of a model, in the hub's format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.contracts import ForeignForm
from nearfar.figures import bounds, difference, finite, label_of, number, pair_of
from nearfar.printable import printable, printable_line
from nearfar.storage.examples import examples, reads_texts


def card(
    dim: int,
    fingerprint: str,
    notes: Mapping[str, Any],
    forms: Sequence[ForeignForm],
    sides: Mapping[str, Sequence[str]],
    *,
    towers: bool = False,
) -> str:
    """Return the README.md of a model folder: use, metrics with intervals, protocol, training data, recipe.

    dim: the dimension d of the vectors. notes: the model's notes, with `reports` by task name, `data` and `recipe`.
    forms: those in which other tools read the folder; no other tool is promised. sides: the kinds of cells that are
    read, by role; () where the encoder does not say. towers: whether queries and keys have an encoder each.
    """
    tools = [form.tool for form in forms]
    task = next((form.task for form in forms if form.task), "")  # of a language model
    metadata = {
        "library_name": ("transformers" if task else tools[0]) if tools else "nearfar",
        "pipeline_tag": task or ("sentence-similarity" if reads_texts(sides) else "feature-extraction"),
        "tags": ["nearfar", *tools, "feature-extraction", "language-modeling" if task else "contrastive-learning"],
    }
    front_matter = "\n".join(f"{key}: {json.dumps(value)}" for key, value in metadata.items())
    sections = [
        f"---\n{front_matter}\n---\n",
        f"# {'A language' if task else 'An embedding'} model trained with nearfar\n",
        f"Vectors of {dim} dimensions, unit length, cosine similarity. Fingerprint `{fingerprint}`.\n"
        if task
        else f"{dim} dimensions, unit length, cosine similarity. Fingerprint `{fingerprint}`.\n",
        _SHIPPED.get(str(notes.get("shipped")), ""),
        _use(sides, forms, towers),
        *(_evaluation(name, report) for name, report in notes.get("reports", {}).items()),
        _section("Training data", notes.get("data")),
        _section("Recipe", notes.get("recipe")),
        _LIMITS,
    ]
    return "\n".join(section for section in sections if section)


def _use(sides: Mapping[str, Sequence[str]], forms: Sequence[ForeignForm], towers: bool) -> str:
    """Return how the model is used."""
    found = examples("path/to/this/folder", sides, forms, towers=towers)
    parts = [f"{example.label}:\n\n```{example.language}\n{example.code}\n```\n" for example in found]
    sides_note = ["Queries and documents have an encoder each.\n"] if towers else []
    return "\n".join(["## Use\n", *sides_note, *parts])


_SHIPPED = {  # what of a run with a projection head is the model
    "encoder": "The model is the encoder; the projection that it was trained with is not part of it.\n",
    "projection": "The model is the encoder with the projection that it was trained with.\n",
}
_MARKUP = re.compile(r"[\\`*<>|&]|!(?=\[)|(?<=\])[(\[:]")  # of Markdown inside a line; links by what follows a bracket
_LIMITS = """## Limits

The figures above hold for the data and the protocol named with them, and for nothing else. Judge the model on your own
data (`nearfar evaluate MODEL DATA --baseline bm25`) before you rely on it.
"""


def _evaluation(name: str, report: Mapping[str, Any]) -> str:
    """Return a report's verdict, its sizes, and its table: metric, value, each baseline, difference to each."""
    protocol, gaps = report.get("protocol", {}), report.get("difference", {})
    intervals, baselines = report.get("intervals", {}), report.get("baseline", {})
    labels = [_inline(label_of(baseline, protocol)) for baseline in baselines]
    rows = [["metric", "model", *labels, *(f"model - {label}" for label in labels)]]
    rows.append(["---"] * len(rows[0]))
    for metric, value in report.get("metrics", {}).items():
        row = [_inline(metric), f"{_number(value)} {bounds(intervals.get(metric))}".rstrip()]
        row += [_number(values.get(metric)) for values in baselines.values()]
        beside = [gaps.get(baseline, {}).get(metric) for baseline in baselines]
        rows.append([*row, *("" if gap is None else difference(gap) for gap in beside)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    verdict = report.get("verdict", {})
    said = [_inline(verdict.get(part) or "") for part in ("sentence", "advice")]
    parts = [
        f"## Evaluation: {_inline(name)}",
        " ".join(part for part in said if part),
        _inline(verdict.get("sizes") or ""),
        table,
        _about_intervals(intervals, protocol),
        _section("Protocol", protocol, level=3),
    ]
    return "\n\n".join(part for part in parts if part)


def _inline(text: str) -> str:
    """Return a text that holds names from data, such as a split's or a folder's, as it shows in a line of Markdown.

    It makes no markup, no cell of a table, no link and no line of its own, and holds no control character.
    """
    return _MARKUP.sub(r"\\\g<0>", printable_line(text))


def _about_intervals(intervals: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Return what the intervals are, or why there are none; nothing where neither is known."""
    about, why = protocol.get("interval"), protocol.get("intervals")
    if about and any(pair_of(interval) for interval in intervals.values()):
        return f"[low, high]: {about['confidence']:.0%} intervals, by a {_inline(str(about['method']))}."
    return f"No intervals: {_inline(str(why))}." if why else ""


def _section(title: str, content: Any, level: int = 2) -> str:
    if not content:
        return ""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str).replace("`", "\\u0060")  # nor the block's end
    return f"{'#' * level} {title}\n\n```json\n{printable(text)}\n```\n"


def _number(value: Any) -> str:
    known = finite(value)
    return "" if known is None else number(known)
