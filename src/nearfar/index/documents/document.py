"""A document: the text or the picture that a file, a page or a row holds, and where in the file it stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_REPLACED = {0: 0xFFFD} | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # no database takes them in a text


class BadDocumentError(ValueError):
    """A file cannot be read, or holds nothing; the message says why, as the end of "NAME: ...".

    lasting: reading it again gives the same, so that it is not read before it has changed.
    """

    def __init__(self, problem: str, *, lasting: bool = True) -> None:
        super().__init__(problem)
        self.lasting = lasting


@dataclass(frozen=True)
class FileDocument:
    """A text, or a picture (h, w, 3), with its place in a file.

    starts, lines: ascending offsets in the text, the first of them 0, and the line of the file, from 1, that begins at
    each; both are empty where the format has no lines. page: from 1, where it has pages. fields: of a table's row.
    share: of the file that is read with it, 0 to 1.
    """

    cell: Any
    starts: Sequence[int] = ()
    lines: Sequence[int] = ()
    page: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0

    def line(self, offset: int = 0) -> int | None:
        """Return the line of the file in which a character of the text stands."""
        return self.lines[bisect_right(self.starts, offset) - 1] if self.lines else None


def storable(text: str) -> str:
    """Return a text with U+FFFD for what no store of texts takes: zero characters and lone surrogates."""
    return text if text.isascii() and "\0" not in text else text.translate(_REPLACED)
