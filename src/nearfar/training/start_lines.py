"""What is said when a run begins, a line each: what parts chose, and which texts are longer than is read of them."""

from __future__ import annotations

from nearfar.abilities import augmented_views, picture_size, said_by, tower_of, towers_of
from nearfar.contracts import Encoder, Positives
from nearfar.sides import role_of_view, side_of
from nearfar.text.prompts import prompted
from nearfar.text.truncated import truncated_texts


def start_lines(encoder: Encoder, positives: Positives) -> list[str]:
    """Return the lines of an encoder, or its two, of texts that are cut, and of the augmentations.

    The same of several views is one line.
    """
    lines = [line for part in (encoder, *towers_of(encoder).values()) for line in said_by(part)]
    views: dict[str, list[str]] = {}
    for view, streamed in augmented_views(positives).items():
        for line in said_by(streamed.augmentation, picture_size(side_of(encoder, positives, view))):
            views.setdefault(line, []).append(view)
    lines += _truncated(encoder, positives)
    return [*dict.fromkeys(lines), *(f"augmentation of {', '.join(names)}: {line}" for line, names in views.items())]


def _truncated(encoder: Encoder, positives: Positives) -> list[str]:
    """Return a line for each column of texts some of which are cut; an augmented view has its texts only later."""
    lines: dict[tuple[int, str], str | None] = {}  # a column that is several views is read once
    for view in positives.views.keys() - augmented_views(positives).keys():
        role, column = role_of_view(positives, view), positives.views[view]
        if (key := (id(column), role)) not in lines:
            found = truncated_texts(tower_of(encoder, role), prompted(encoder, positives, view))
            line = None if found is None else found.line(f"column {column.name!r}")
            lines[key] = None if found is None or line is None else line + _advice(positives, found.longest)
    return sorted(line for line in lines.values() if line)


def _advice(positives: Positives, longest: int) -> str:
    """Return what cuts less, for positives that cut documents into passages of `chunk` words, 0 for none."""
    chunk = getattr(positives, "chunk", None)
    if chunk is None or chunk == 1:
        return ""
    return f"; shorter passages lose less, e.g. positives.chunk={max(1, min(chunk or longest, longest) // 2)}"
