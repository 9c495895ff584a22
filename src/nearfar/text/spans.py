"""Where a text's words and sentences stand, and what every text view asks of its settings and cells."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from nearfar.errors import InputError

Span = tuple[int, int]  # start and stop, in characters
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and Chinese characters: written without spaces
_WORD = re.compile(rf"[{_SINGLE}]|[^\s{_SINGLE}]+")
_END = re.compile(r"[.!?]+[\"')\]\u201d\u2019]*(?=\s)|[\u3002\uff01\uff1f]+|\n\s*\n")


def words(text: str) -> list[Span]:
    """Return the spans of a text's words: what stands between white space, and each Chinese or Japanese character."""
    return [found.span() for found in _WORD.finditer(text)]


def sentences(text: str) -> list[Span]:
    """Return the spans of a text's sentences, without the white space around them.

    A sentence ends at . ! ? before white space, at their full-width forms, and at an empty line. That cuts after "Dr."
    too, which a view can bear and a parser could not.
    """
    cuts = [0, *(found.end() for found in _END.finditer(text)), len(text)]
    found = []
    for start, stop in pairwise(cuts):
        bare = text[start:stop].strip()
        if bare:
            start += len(text[start:stop]) - len(text[start:stop].lstrip())
            found.append((start, start + len(bare)))
    return found


def spans(text: str, unit: str) -> list[Span]:
    """Return the spans of a text's "words" or "sentences"."""
    return words(text) if unit == "words" else sentences(text)


def check_text(view: str, cell: Any) -> str:
    """Return the cell; one that is no text is an error."""
    if not isinstance(cell, str):
        raise InputError(f"views.{view} takes texts, this cell is {type(cell).__name__}; name a column of text")
    return cell


def check_unit(view: str, unit: str) -> None:
    """A text is cut into words or sentences."""
    if unit not in ("words", "sentences"):
        raise InputError(f"views.{view}.unit must be words or sentences; it is {unit!r}")


def check_share(name: str, value: float, *, below_one: bool = False) -> None:
    """A share is a number from 0 to 1."""
    if not (math.isfinite(value) and 0 <= value <= 1 and not (below_one and value == 1)):
        raise InputError(f"views.{name} is a share, 0 to {'below ' * below_one}1; it is {value}")
