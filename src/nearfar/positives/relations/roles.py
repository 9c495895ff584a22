"""Which column holds queries, keys, negatives and clusters, and cells that hold one text or a list."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.abilities import HasLists
from nearfar.column import Column, Ids, content_ids, ranges
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest

COLUMN_PAIRS = [  # names of a query and a key column that are recognised
    ("query", "key"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "pos"),
    ("query", "answer"),
    ("question", "answer"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
]
NEGATIVE = re.compile(r"neg(ative)?s?(_?\d+)?")  # negative, negatives, negative_1, neg; not "negotiated"
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
                raise InputError(
                    f"positives.columns: which column holds the queries and which the keys? give positives.query=... "
                    f"and positives.key=...; columns: {', '.join(columns) or 'none'}"
                )
            query, key = names
        if query is None or key is None:
            raise InputError(f"positives.columns: give both query and key; columns: {', '.join(columns)}")
        grade = next((name for name in GRADE_COLUMNS if name in columns), None)
        if query.startswith("sentence") and grade is not None:
            raise InputError(
                f"positives.columns: sentence pairs with a {grade} are graded, not positives or negatives; evaluate "
                "with them (nearfar evaluate), or keep only the rows of similar sentences, without that column"
            )
        if negative is None:
            negatives = [name for name in columns if NEGATIVE.fullmatch(name) and name not in (query, key)]
        else:
            negatives = [negative] if isinstance(negative, str) else negative
        for role, name in [("query", query), ("key", key), ("cluster", cluster), *(("negative", n) for n in negatives)]:
            if name is not None and name not in columns:
                raise InputError(f"positives.columns.{role}: no column {name!r}; {nearest(name, columns)}")
        return cls(query, key, negatives, cluster)


@dataclass(frozen=True)
class FlatCells:
    """A column of texts, and the offsets (n + 1,) of its rows: row i has the cells `offsets[i]` to `offsets[i + 1]`."""

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
    """Return a column's texts by row; of lists in cells, each text (`abilities.HasLists`)."""
    if isinstance(data, HasLists):
        return FlatCells(*data.lists(name))
    column = data.column(name)
    return FlatCells(column, np.arange(len(column) + 1))


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
