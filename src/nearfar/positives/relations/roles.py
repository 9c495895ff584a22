"""Which column holds queries, keys, negatives and clusters, and cells that hold one text or a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.abilities import ARRAYS, HasLists
from nearfar.column import Column, Ids, ListColumn, chunks, column_kind, content_id, content_ids, is_empty, ranges
from nearfar.column_names import COLUMN_PAIRS, NEGATIVE
from nearfar.contracts import Data
from nearfar.errors import InputError, listed, nearest

MISSING = [content_id(None), content_id(""), content_id([])]
GRADE_COLUMNS = ("score", "label", "similarity", "similarity_score")


@dataclass(frozen=True)
class Roles:
    """The columns of queries, keys, negatives and clusters."""

    query: str
    key: str
    negatives: list[str]
    cluster: str | None

    @classmethod
    def of(
        cls, data: Data, query: str | None, key: str | None, negative: str | list[str] | None, cluster: str | None
    ) -> Roles:
        """Return the roles, those not given recognised by name.

        Errors: `InputError` for a column that does not exist; no recognised names; graded pairs.
        """
        columns = data.columns
        if query is None and key is None:
            names = next((names for names in COLUMN_PAIRS if set(names) <= set(columns)), None)
            if names is None:
                raise _no_names(data)
            query, key = names
            if query == "image" and column_kind(data.column(query)) == "text":
                raise InputError(
                    "positives (columns): the column 'image' holds texts; if these are paths of pictures, read them "
                    "with data.name=image_text, else give positives.query=... and positives.key=..."
                )
        if query is None or key is None:
            raise InputError(f"positives (columns): give both query and key; columns: {listed(columns)}")
        grade = next((name for name in GRADE_COLUMNS if name in columns), None)
        if query.startswith("sentence") and grade is not None:
            raise InputError(
                f"positives (columns): sentence pairs with a {grade} are graded, not positives or negatives; evaluate "
                "with them (nearfar evaluate), or keep only the rows of similar sentences, without that column"
            )
        if negative is None:
            negatives = [name for name in columns if NEGATIVE.fullmatch(name) and name not in (query, key)]
        else:
            negatives = [negative] if isinstance(negative, str) else negative
        for role, name in [("query", query), ("key", key), ("cluster", cluster), *(("negative", n) for n in negatives)]:
            if name is not None and name not in columns:
                raise InputError(f"positives.{role}: no column {name!r}; {nearest(name, columns)}")
        return cls(query, key, negatives, cluster)


def _no_names(data: Data) -> InputError:
    """Return the error of columns whose names do not say which the queries and the keys are.

    Where none but one holds texts, in lists, no name helps: who is near whom inside a list is for the user to say.
    """
    texts = [name for name in data.columns if column_kind(data.column(name)) in ("text", "texts")]
    if len(texts) == 1 and column_kind(data.column(texts[0])) == "texts":
        name = texts[0]
        return InputError(
            f"positives (columns): the column {name!r} holds lists of texts, and no column a query or a key. Write "
            f"query and key as columns of their own, or, where all texts of a list are near each other, give "
            f"positives.query={name} positives.key={name}; columns: {listed(data.columns)}"
        )
    return InputError(
        "positives (columns): which column holds the queries and which the keys? give positives.query=... and "
        f"positives.key=...; columns: {listed(data.columns)}"
    )


@dataclass(frozen=True)
class FlatCells:
    """A column of cells, and the offsets (n + 1,) of its rows: row i has the cells `offsets[i]` to `offsets[i + 1]`."""

    column: Column
    offsets: Ids

    def pairs(self, other: FlatCells) -> npt.NDArray[np.int64]:
        """Return all pairs within rows (e, 3): the row, a cell of this column and a cell of the other."""
        count, other_count = np.diff(self.offsets), np.diff(other.offsets)
        row = np.repeat(np.arange(len(count)), count * other_count)
        within = ranges(np.zeros(len(count), np.int64), count * other_count)
        width = other_count[row]
        return np.stack([row, self.offsets[row] + within // width, other.offsets[row] + within % width], 1)

    def cells_of(self, rows: Ids) -> Ids:
        """Return the cells of some rows."""
        return ranges(self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows])


def flatten(data: Data, name: str) -> FlatCells:
    """Return a column's cells by row: lists of texts are flattened, cells of every other kind are one for each row.

    Arrays that are not in memory are not read: one that is missing has the id of a missing cell.

    Errors: `InputError` naming the row of a cell that is empty (`column.is_empty`), or in a list is no text.
    """
    column = data.column(name)
    kind = column_kind(column)
    if kind in ARRAYS:
        known = isinstance(column, ListColumn)
        return _one_each(column, _empty(column) if known else np.isin(content_ids(column), MISSING))
    if isinstance(data, HasLists):
        return FlatCells(*data.lists(name))
    in_memory = isinstance(column, ListColumn) and any(isinstance(cell, list) for cell in column.cells)
    if in_memory or kind == "texts":
        return _flattened(column)
    return _one_each(column, _empty(column))


def _empty(column: Column) -> npt.NDArray[np.bool_]:
    """Return which cells of a column are empty, (n,)."""
    return np.array([is_empty(cell) for block in chunks(column) for cell in block], np.bool_)


def _one_each(column: Column, empty: npt.NDArray[np.bool_]) -> FlatCells:
    """Return a column with one cell for each row, none of which may be empty."""
    if empty.any():
        row = int(empty.argmax()) + 1
        raise InputError(f"column {column.name!r}, row {row}: is empty; give it a cell, or remove the row")
    return FlatCells(column, np.arange(len(column) + 1))


def _flattened(column: Column) -> FlatCells:
    """Return a column of lists of texts, and of single texts, list after list."""
    cells: list[str] = []
    offsets = [0]
    for row, cell in enumerate((cell for block in chunks(column) for cell in block), 1):
        texts = cell if isinstance(cell, list | tuple) else [cell]
        bad = next((text for text in texts if not isinstance(text, str) or is_empty(text)), "text")
        if not isinstance(bad, str) or is_empty(bad):
            raise InputError(f"column {column.name!r}, row {row}: {bad!r:.40} is no text, or an empty one; remove it")
        cells += texts
        offsets.append(len(cells))
    return FlatCells(ListColumn(column.name, cells), np.array(offsets, np.int64))


def side_cells(data: Data, roles: Roles) -> tuple[FlatCells, FlatCells]:
    """Return the texts of queries and of keys: the same object where one column holds both."""
    queries = flatten(data, roles.query)
    return queries, queries if roles.key == roles.query else flatten(data, roles.key)


def pairs_of(queries: FlatCells, keys: FlatCells) -> npt.NDArray[np.int64]:
    """Return (e, 3), as `FlatCells.pairs`; of a single column only the pairs of different texts."""
    examples = queries.pairs(keys)
    if queries is not keys:
        return examples
    ids = content_ids(queries.column)
    different: npt.NDArray[np.int64] = examples[ids[examples[:, 1]] != ids[examples[:, 2]]]
    return different
