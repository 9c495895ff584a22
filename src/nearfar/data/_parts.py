"""The parts of a source text that are worth parsing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

# A string on the line below a colon, or behind the colon that ends a header: without one there is no docstring.
_MAYBE_DOCSTRING = re.compile(
    r"""
      :[ \t]*(?:\#.*)?\\?\n (?:[ \t\f]*(?:\#.*)?\n)* [ \t\f]*\(*[rRuU]?["']
    | ^[ \t\f]*(?:(?:async[ \t]+)?def|class|\)).*:[ \t]*\(*[rRuU]?["']
    """,
    re.VERBOSE | re.MULTILINE,
)

# Strings and comments are stepped over; what matches nothing is where a definition begins at the margin.
_MARGIN = re.compile(
    r'''
      """(?:[^"\\]++|\\.|"(?!""))*+""" | "(?:[^"\\\n]++|\\.)*+"
    | \'\'\'(?:[^'\\]++|\\.|'(?!\'\'))*+\'\'\' | '(?:[^'\\\n]++|\\.)*+'
    | \#[^\n]*+
    | ^(?=@|(?:def|class|async)\b)
    ''',
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)


def promising_parts(text: str) -> Iterator[str]:
    """Yield the parts of a source text that may hold docstrings, cut where definitions begin at the margin.

    A third of all source holds none: tests, tables, small helpers. The parser takes most of a harvest's time, so what
    it need not see is left out; and it is faster on small texts. A syntax error in what is left out is not noticed.
    """
    if not _MAYBE_DOCSTRING.search(text):
        return
    starts = (match.start() for match in _MARGIN.finditer(text) if match.start() == match.end())
    for start, stop in pairwise([0, *starts, len(text)]):
        part = text[start:stop]
        if _MAYBE_DOCSTRING.search(part):
            yield part
