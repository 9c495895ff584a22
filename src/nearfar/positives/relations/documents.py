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
from nearfar.errors import InputError, listed, nearest
from nearfar.positives.relations.roles import flatten

_WORD = re.compile(r"\S+")


def documents_column(data: Data, column: str | None) -> str:
    """Return the name of the column of documents: the given one, one of a known name, or the only one."""
    name = column or next((known for known in DOCUMENT_COLUMNS if known in data.columns), None)
    name = data.columns[0] if name is None and len(data.columns) == 1 else name
    if name is None:
        raise InputError(
            f"positives: which column holds the documents? give positives.column=...; columns: {listed(data.columns)}"
        )
    if name not in data.columns:
        raise InputError(f"positives.column: no column {name!r}; {nearest(name, data.columns)}")
    return name


@dataclass(frozen=True)
class Documents:
    """Documents, or the passages of documents, one cell each: a text, a picture, a recording.

    cells: n of them. row: (n,) rows of the data. document_ids: (n,) content ids of the whole documents, which the
    passages of one document share. are_texts: of their kind; each text of a list in a cell is a document. empty: rows
    of a BEIR corpus that are left out, as they hold neither a title nor a text.
    """

    cells: Column
    row: Ids
    document_ids: Ids
    are_texts: bool
    empty: int = 0

    @classmethod
    def of(cls, data: Data, column: str | None, chunk: int) -> Documents:
        """Return a data set's documents.

        Where no column is named, those of a BEIR corpus (columns `_id` and `text`) are what `data.Beir` makes of them:
        the title, a space and the text, one of which may be missing.

        Errors: `InputError` for no recognised column, or one that does not exist; an empty cell, by row; passages of
        what is no text.
        """
        name = documents_column(data, column)
        found = _beir_corpus(data) if column is None and {"_id", "text"} <= set(data.columns) else None
        return (found or cls._of_column(data, name))._cut(name, chunk)

    @classmethod
    def _of_column(cls, data: Data, name: str) -> Documents:
        cells = flatten(data, name)
        row = np.repeat(np.arange(len(cells.offsets) - 1), np.diff(cells.offsets))
        return cls(cells.column, row, content_ids(cells.column), column_kind(cells.column) in ("text", None))

    def _cut(self, name: str, chunk: int) -> Documents:
        """Return the passages of the documents, for a chunk of 0 the documents."""
        if not chunk:
            return self
        if not self.are_texts:
            raise InputError(
                f"positives.chunk: column {name!r} holds cells of kind {column_kind(self.cells)}; only texts "
                "are cut into passages, so leave it 0"
            )
        passages = Passages(self.cells, chunk)
        cut_from = passages.document
        return Documents(passages, self.row[cut_from], self.document_ids[cut_from], True, self.empty)


def _beir_corpus(data: Data) -> Documents | None:
    """Return the documents of a BEIR corpus that are not empty; None where its cells are no texts."""
    titled = TitledTexts([data.column(name) for name in ("title", "text") if name in data.columns])
    if not titled.are_texts():
        return None
    rows = np.flatnonzero([bool(text) for texts in chunks(titled) for text in texts]).astype(np.int64)
    if len(rows) == 0:
        raise InputError("positives: no document of the BEIR corpus has a title or a text; give some that do")
    documents: Column = titled if len(rows) == len(titled) else SelectedCells(titled.name, titled, rows)
    return Documents(documents, rows, content_ids(documents), True, len(titled) - len(rows))


class TitledTexts:
    """A column of a BEIR corpus's documents: the cells of some columns, with a space between, joined when read."""

    name = "document"

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def are_texts(self) -> bool:
        """Return whether all cells are texts, or missing."""
        cells = (cell for column in self.columns for some in chunks(column) for cell in some)
        return all(cell is None or isinstance(cell, str) for cell in cells)

    def read(self, start: int, stop: int) -> list[str]:
        """Return documents `start` to `stop`; one that is empty is the empty text."""
        parts = [column.read(start, stop) for column in self.columns]
        return [" ".join(cell or "" for cell in cells).strip() for cells in zip(*parts, strict=True)]

    def ids(self) -> Ids:
        """Return the content ids of the documents."""
        return cell_ids(self)


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


def spread(columns: Sequence[Column], name: str) -> tuple[Column, Ids]:
    """Return the cells of several columns as one, those of the first spread evenly, and the place (m,) of each cell.

    Of equal scores the earlier row is ranked first. If the first column, which holds what is to be found, came first,
    then a model that gives every text one vector would look good.
    """
    whole, n = JoinedColumn(name, columns), len(columns[0])
    m = len(whole)
    place = np.random.default_rng([n, m]).permutation(m)
    place = np.concatenate([np.sort(place[:n]), np.sort(place[n:])])  # each in its own order, so that reading is fast
    return SelectedCells(name, whole, np.argsort(place)), place


class Passages:
    """A column of the passages of another column's texts, which are cut when they are read.

    size: words of a passage; a remainder of less than half of that is joined to the passage before it. `document` (n,)
    is the row of the text that each passage is cut from, `bounds` (n, 2) where it begins and stops there. Both are held
    in memory: 24 bytes a passage.
    """

    def __init__(self, texts: Column, size: int) -> None:
        self.name, self.texts = texts.name, texts
        counts, bounds = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)]
        for cells in chunks(texts):  # arrays at once: a list of all passages' bounds would take ten times as much
            cuts = [_cut(text, size) for text in cells]
            counts.append(np.array([len(passages) for passages in cuts], np.int64))
            bounds.append(np.array([bound for passages in cuts for bound in passages], np.int64))
        self.document = np.repeat(np.arange(len(texts)), np.concatenate(counts))
        self.bounds: Ids = np.concatenate(bounds)

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
