"""The spans of a text's words and sentences, and the checks that all text augmentations make of settings and cells."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from nearfar.errors import InputError

Span = tuple[int, int]  # start and stop, in characters
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana, Chinese characters: written without spaces
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]\u201d\u2019]*(?=\s)|[\u3002\uff01\uff1f]+|\n\s*\n")


def words(text: str) -> list[Span]:
    """Return the spans of a text's words: runs without white space, and each Chinese or Japanese character."""
    return [found.span() for found in _WORD.finditer(text)]


def sentences(text: str) -> list[Span]:
    """Return the spans of a text's sentences, without the white space around them.

    A sentence ends at . ! ? before white space, at their full-width forms, and at an empty line. It ends after "Dr.",
    too, which does an augmentation no harm.
    """
    bounds = [0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]
    found = []
    for start, stop in pairwise(bounds):
        stripped = text[start:stop].strip()
        if stripped:
            start += len(text[start:stop]) - len(text[start:stop].lstrip())
            found.append((start, start + len(stripped)))
    return found


def spans(text: str, unit: str) -> list[Span]:
    """Return the spans of a text's "words" or "sentences"."""
    return words(text) if unit == "words" else sentences(text)


def check_text(name: str, cell: Any) -> str:
    """Return the cell. Errors: `InputError` for one that is no text. name: of the augmentation."""
    if not isinstance(cell, str):
        raise InputError(f"augmentations.{name} takes texts, this cell is {type(cell).__name__}; name a column of text")
    return cell


def check_unit(name: str, unit: str) -> None:
    """Refuse a unit of texts other than words and sentences. name: of the augmentation."""
    if unit not in ("words", "sentences"):
        raise InputError(f"augmentations.{name}.unit must be words or sentences; it is {unit!r}")


def check_share(name: str, value: float, *, below_one: bool = False) -> None:
    """Refuse a share that is not from 0 to 1. name: of the setting."""
    if not (math.isfinite(value) and 0 <= value <= 1 and not (below_one and value == 1)):
        raise InputError(f"augmentations.{name} is a share, 0 to {'below ' * below_one}1; it is {value}")
