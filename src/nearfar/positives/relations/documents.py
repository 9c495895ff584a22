"""A data set's single documents: the column that holds them, whole or in passages."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from nearfar.column import Column, Ids, chunks, content_ids
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest
from nearfar.positives.relations.roles import flatten

KNOWN = ("text", "document", "passage", "sentence", "content", "body", "code", "key")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Documents:
    """Examples that are one text each.

    texts (n,); row (n,): of the data; document (n,): the content of the whole document, which passages share.
    """

    texts: Column
    row: Ids
    document: Ids

    @classmethod
    def of(cls, data: Data, column: str | None, chunk: int) -> Documents:
        """Return a data set's documents. Errors: `InputError` for a column that nobody named or that does not exist."""
        name = column or next((known for known in KNOWN if known in data.columns), None)
        name = data.columns[0] if name is None and len(data.columns) == 1 else name
        if name is None:
            raise InputError(
                f"positives: which column holds the documents? give positives.column=...; columns: "
                f"{', '.join(data.columns) or 'none'}"
            )
        if name not in data.columns:
            raise InputError(f"positives.column: no column {name!r}; {nearest(name, data.columns)}")
        flat = flatten(data, name)
        row, document = np.repeat(np.arange(len(flat.offsets) - 1), np.diff(flat.offsets)), content_ids(flat.column)
        if not chunk:
            return cls(flat.column, row, document)
        passages = Passages(flat.column, chunk)
        return cls(passages, row[passages.document], document[passages.document])


class Passages:
    """The passages of a column's texts, one after the other, cut from their documents when they are read.

    size: words of a passage; a remainder of less than half of that stays with the passage before it. `document` (n,)
    says which text each is of.
    """

    def __init__(self, texts: Column, size: int) -> None:
        self.name, self.texts = texts.name, texts
        cuts = [_cut(text, size) for cells in chunks(texts) for text in cells]
        self.document = np.repeat(np.arange(len(cuts)), list(map(len, cuts)))
        self.bounds: Ids = np.array([bound for found in cuts for bound in found], np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.document)

    def read(self, start: int, stop: int) -> list[str]:
        """Return passages `start` to `stop`."""
        documents = self.document[start:stop]
        if len(documents) == 0:
            return []
        first = int(documents[0])
        cells = self.texts.read(first, int(documents[-1]) + 1)
        placed = zip(documents.tolist(), self.bounds[start:stop].tolist(), strict=True)
        return [cells[document - first][a:b] for document, (a, b) in placed]


def _cut(text: str, size: int) -> list[tuple[int, int]]:
    """Return the start and stop of each passage, in characters."""
    words = [found.span() for found in _WORD.finditer(text)]
    firsts = list(range(0, len(words), size)) or [0]
    if len(firsts) > 1 and len(words) - firsts[-1] < size / 2:
        firsts.pop()
    ends = [*firsts[1:], len(words)]
    return [(words[a][0], words[b - 1][1]) for a, b in zip(firsts, ends, strict=True)] if words else [(0, len(text))]
