"""What all text augmentations need: the spans of a text's words and sentences, checks, as many numbers as words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from nearfar.compute.draws import Draws
from nearfar.errors import InputError

Span = tuple[int, int]  # start and stop, in characters
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana, Chinese characters: written without spaces
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_DRAWN_TOGETHER = 64  # texts
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


def check_texts(name: str, cells: Sequence[Any]) -> Sequence[str]:
    """Return the cells. Errors: `InputError` for one that is no text. name: of the augmentation."""
    wrong = next((cell for cell in cells if not isinstance(cell, str)), None)
    if wrong is not None:
        what = type(wrong).__name__
        raise InputError(f"augmentations.{name} takes texts, this cell is {what}; name a column of text")
    return cells


def uniform_lists(draws: Draws, counts: Sequence[int], lane: int = 0) -> list[list[float]]:
    """Return counts[i] numbers of a lane for row i, uniform in [0, 1).

    Rows of about one count are drawn together, so that one long text does not fill the memory for all.
    """
    numbers: list[list[float]] = [[] for _ in counts]
    order = sorted(range(len(counts)), key=counts.__getitem__)
    for first in range(0, len(order), _DRAWN_TOGETHER):
        rows = order[first : first + _DRAWN_TOGETHER]
        for row, drawn in zip(rows, draws[rows].uniform(counts[rows[-1]], lane=lane).tolist(), strict=True):
            numbers[row] = drawn[: counts[row]]
    return numbers


def check_unit(name: str, unit: str) -> None:
    """Refuse a unit of texts other than words and sentences. name: of the augmentation."""
    if unit not in ("words", "sentences"):
        raise InputError(f"augmentations.{name}.unit must be words or sentences; it is {unit!r}")


def check_share(name: str, value: float, *, below_one: bool = False) -> None:
    """Refuse a share that is not from 0 to 1. name: of the setting."""
    if not (math.isfinite(value) and 0 <= value <= 1 and not (below_one and value == 1)):
        raise InputError(f"augmentations.{name} is a share, 0 to {'below ' * below_one}1; it is {value}")
