"""Which words of a text a search by words matched."""

from __future__ import annotations

from collections.abc import Set

from nearfar.text.analyser import word_places
from nearfar.text.spans import Span
from nearfar.text.terms import TermAnalyser


def matched_spans(text: str, terms: Set[str], analyser: TermAnalyser) -> list[Span]:
    """Return where the words stand in a text that give one of some terms, (start, stop) in characters, in order.

    They are whole words as they are written, of scripts without spaces runs of the pairs that match. terms: those of a
    query, by the same analyser.

    Example:
        >>> english = TermAnalyser("english")
        >>> matched_spans("Foxes run: a fox ran.", set(english("running fox")), english)
        [(0, 5), (6, 9), (13, 16)]
    """
    found: list[Span] = []
    for start, stop in word_places(text):
        if terms.isdisjoint(analyser(text[start:stop])):
            continue
        if found and start < found[-1][1]:
            start = found.pop()[0]
        found.append((start, stop))
    return found
