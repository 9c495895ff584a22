"""How the hits of an index look on a terminal: where each is from, why it was found, and the lines that match."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from nearfar.printable import printable, show

INDENT = " " * 4
_LONGEST = 20_000  # characters of a text that are looked through
_LINES = 2  # of a text that are shown
_MORE = " ..."
_TIED = "\u00a0"  # in the place of a space at which no line ends


def show_hits(hits: list[dict[str, Any]], *, scores: bool, explained: bool) -> None:
    """Print the hits of an index, numbered. scores: say them, as cosines and BM25's say more than the order."""
    width = text_width(len(INDENT))
    for number, hit in enumerate(hits, 1):
        score = f"  {hit['score']:.3f}" if scores else ""
        known = [line for fact in _facts(hit, explained=explained) for line in _wrapped(fact, width)]
        terms = ((hit.get("explain") or {}).get("words") or {}).get("terms", {})
        text = excerpt(hit["text"], terms, width) if "text" in hit else []  # a picture has none
        show(f"{number:>2}  {_heading(hit)}{score}", *(f"{INDENT}{line}" for line in (*known, *text)))


def text_width(indent: int) -> int:
    """Return how many characters of a text fit a line of the terminal behind an indent; at least 20."""
    return max(min(shutil.get_terminal_size().columns, 120) - indent, 20)


def _heading(hit: Mapping[str, Any]) -> str:
    """Return where a hit is from: its file with the line or page, else its id."""
    fields = hit.get("fields") or {}
    if not fields.get("file"):
        return str(hit["id"])
    place = next((f", {name} {fields[name]}" for name in ("page", "line") if fields.get(name) is not None), "")
    return f"{fields['file']}{place}"


def _facts(hit: Mapping[str, Any], *, explained: bool) -> list[str]:
    """Return what is known of a hit beside its text: its other fields; explained: its id and why it was found."""
    headed = bool((hit.get("fields") or {}).get("file"))
    shown = ("file", "line", "page") if headed else ()
    fields = {n: value for n, value in (hit.get("fields") or {}).items() if value is not None and n not in shown}
    lines = [", ".join(f"{name} {value}" for name, value in fields.items())] if fields else []
    if explained:
        lines += [f"id {hit['id']}"] if headed else []
        lines += _reasons(hit.get("explain") or {})
    return lines


def _reasons(explain: Mapping[str, Any]) -> list[str]:
    """Return what each ranking gave, and how the two were fused."""
    from nearfar.index.hybrid import LEGS

    lines = []
    fused = explain.get("fused")
    for leg in LEGS:
        found = explain.get(leg)
        if found:
            terms = ", ".join(f"{term}{_TIED}{value:.2f}" for term, value in _by_value(found.get("terms", {})))
            lines.append(f"by {leg}: rank {found['rank']}, score {found['score']:.3f}{f' ({terms})' if terms else ''}")
        elif fused:
            lines.append(f"by {leg}: not among the best")
    if fused:
        parts = " + ".join(f"{part:.4f} by {leg}" for leg, part in fused["parts"].items() if explain.get(leg))
        lines.append(f"fused: {parts} = {fused['score']:.4f}")
    if reranked := explain.get("reranked"):
        lines.append(f"reranked: rank {reranked['rank']}, before {reranked['before']}")
    return lines


def excerpt(text: str, terms: Mapping[str, float], width: int) -> list[str]:
    """Return the two lines of a text that hold most of a query's terms; its first ones where it has none of them.

    terms: what each gave the hit; a stem stands for the words that begin with it. Prose is wrapped; where lines are
    indented, as in code, they stay lines.
    """
    shown = printable(text[:_LONGEST]).expandtabs(4)
    if any(line.startswith("  ") for line in shown.splitlines()):
        lines = [line.rstrip() for line in shown.splitlines() if line.strip()]
    else:
        lines = textwrap.wrap(" ".join(shown.split()), width - len(_MORE), break_on_hyphens=False)
    held = [{term for term in terms if _holds(line, term)} for line in lines]
    worth = [sum(terms[term] for term in set().union(*held[i : i + _LINES])) for i in range(len(lines))]
    first = worth.index(max(worth)) if lines else 0
    found = lines[first : first + _LINES]
    if first + _LINES < len(lines) or len(text) > _LONGEST:
        found[-1:] = [f"{line[: width - len(_MORE)]}{_MORE}" for line in found[-1:]]
    return [line if len(line) <= width else f"{line[: width - len(_MORE)]}{_MORE}" for line in found]


def _holds(line: str, term: str) -> bool:
    """Return whether a word of a line begins with a term."""
    folded = f" {line.casefold()}"
    at = folded.find(term)
    while at > 0:
        if not folded[at - 1].isalnum() or not term[0].isascii():  # other scripts may put no space between words
            return True
        at = folded.find(term, at + 1)
    return False


def _wrapped(fact: str, width: int) -> list[str]:
    """Return a line as lines that fit; a term and its value stay together."""
    return [line.replace(_TIED, " ") for line in textwrap.wrap(fact, width, break_on_hyphens=False)]


def _by_value(terms: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(terms.items(), key=lambda pair: -pair[1])
