"""A data set's documents, of text or of anything else: whole, or texts cut into passages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, cell_ids, chunks, column_kind, content_ids, take
from nearfar.column_names import DOCUMENT_COLUMNS
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest
from nearfar.positives.relations.roles import flatten

_WORD = re.compile(r"\S+")


def documents_column(data: Data, column: str | None) -> str:
    """Return the name of the column of documents: the given one, one of a known name, or the only one."""
    name = column or next((known for known in DOCUMENT_COLUMNS if known in data.columns), None)
    name = data.columns[0] if name is None and len(data.columns) == 1 else name
    if name is None:
        raise InputError(
            f"positives: which column holds the documents? give positives.column=...; columns: "
            f"{', '.join(data.columns) or 'none'}"
        )
    if name not in data.columns:
        raise InputError(f"positives.column: no column {name!r}; {nearest(name, data.columns)}")
    return name


@dataclass(frozen=True)
class Documents:
    """Documents, or the passages of documents, one cell each: a text, a picture, a recording.

    cells: n of them. row: (n,) rows of the data. document_ids: (n,) content ids of the whole documents, which the
    passages of one document share. are_texts: of their kind; each text of a list in a cell is a document.
    """

    cells: Column
    row: Ids
    document_ids: Ids
    are_texts: bool

    @classmethod
    def of(cls, data: Data, column: str | None, chunk: int) -> Documents:
        """Return a data set's documents.

        Errors: `InputError` for no recognised column, or one that does not exist; an empty cell, by row; passages of
        what is no text.
        """
        name = documents_column(data, column)
        cells = flatten(data, name)
        kind = column_kind(cells.column)
        are_texts = kind in ("text", None)
        row, ids = np.repeat(np.arange(len(cells.offsets) - 1), np.diff(cells.offsets)), content_ids(cells.column)
        if not chunk:
            return cls(cells.column, row, ids, are_texts)
        if not are_texts:
            raise InputError(
                f"positives.chunk: column {name!r} holds cells of kind {kind}; only texts are cut into passages, so "
                "leave it 0"
            )
        passages = Passages(cells.column, chunk)
        return cls(passages, row[passages.document], ids[passages.document], are_texts)


@dataclass(frozen=True, eq=False)
class SelectedCells:
    """A column of some rows (n,) of another one, such as the distinct documents, or those with a label."""

    name: str
    column: Column
    rows: Ids

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return cells `start` to `stop`."""
        return take(self.column, self.rows[start:stop])

    def ids(self) -> Ids:
        """Return the content ids of the cells: those that the other column knows, or had read before."""
        return content_ids(self.column)[self.rows]


@dataclass(frozen=True, eq=False)
class JoinedColumn:
    """A column of the cells of several columns of one kind, one after the other."""

    name: str
    columns: Sequence[Column]

    def __len__(self) -> int:
        return sum(map(len, self.columns))

    def read(self, start: int, stop: int) -> list[Any]:
        """Return cells `start` to `stop`."""
        cells: list[Any] = []
        for column in self.columns:
            n = len(column)
            if start < n and stop > 0:
                cells += column.read(max(start, 0), min(stop, n))
            start, stop = start - n, stop - n
        return cells

    def ids(self) -> Ids:
        """Return the content ids of the cells."""
        return np.concatenate([content_ids(column) for column in self.columns])


class Passages:
    """A column of the passages of another column's texts, which are cut when they are read.

    size: words of a passage; a remainder of less than half of that is joined to the passage before it. `document` (n,)
    is the row of the text that each passage is cut from.
    """

    def __init__(self, texts: Column, size: int) -> None:
        self.name, self.texts = texts.name, texts
        cuts = [_cut(text, size) for cells in chunks(texts) for text in cells]
        self.document = np.repeat(np.arange(len(cuts)), list(map(len, cuts)))
        self.bounds: Ids = np.array([bound for passages in cuts for bound in passages], np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.document)

    def read(self, start: int, stop: int) -> list[str]:
        """Return passages `start` to `stop`."""
        documents = self.document[start:stop]
        if len(documents) == 0:
            return []
        first = int(documents[0])
        cells = self.texts.read(first, int(documents[-1]) + 1)
        bounds = self.bounds[start:stop].tolist()
        return [cells[row - first][a:b] for row, (a, b) in zip(documents.tolist(), bounds, strict=True)]

    def ids(self) -> Ids:
        """Return the content ids of the passages."""
        return cell_ids(self)


def _cut(text: str, size: int) -> list[tuple[int, int]]:
    """Return the start and stop of each passage of `size` words, in characters."""
    words = [word.span() for word in _WORD.finditer(text)]
    firsts = list(range(0, len(words), size)) or [0]
    if len(firsts) > 1 and len(words) - firsts[-1] < size / 2:
        firsts.pop()
    ends = [*firsts[1:], len(words)]
    return [(words[a][0], words[b - 1][1]) for a, b in zip(firsts, ends, strict=True)] if words else [(0, len(text))]
