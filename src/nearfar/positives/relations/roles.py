"""Which column plays which part, by name where nobody says, and cells that hold one text or a list."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids, content_ids, ranges
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest

KNOWN = [
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
GRADES = ("score", "label", "similarity", "similarity_score")


@dataclass(frozen=True)
class Roles:
    """The columns that play query, key, negatives and cluster."""

    query: str
    key: str
    negatives: list[str]
    cluster: str | None

    @classmethod
    def of(
        cls, data: Data, query: str | None, key: str | None, negative: str | list[str] | None, cluster: str | None
    ) -> Roles:
        """Recognise what is not given. Errors: a column that does not exist; names that say nothing; graded pairs."""
        columns = data.columns
        if query is None and key is None:
            found = next((names for names in KNOWN if set(names) <= set(columns)), None)
            if found is None:
                raise InputError(
                    f"positives.columns: which column asks and which answers? give positives.query=... and "
                    f"positives.key=...; columns: {', '.join(columns) or 'none'}"
                )
            query, key = found
        if query is None or key is None:
            raise InputError(f"positives.columns: give both query and key; columns: {', '.join(columns)}")
        grade = next((name for name in GRADES if name in columns), None)
        if query.startswith("sentence") and grade is not None:
            raise InputError(
                f"positives.columns: sentence pairs with a {grade} are graded, not near or far; judge with them "
                "(nearfar evaluate), or keep only the rows whose two sentences are near, without that column"
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
    """A column's texts one after the other, and the offsets (n + 1,) at which each row's begin."""

    column: Column
    offsets: Ids

    def pairs(self, other: FlatCells) -> npt.NDArray[np.int64]:
        """Return (e, 3): each row with each of its own cells and each of the other's."""
        mine, theirs = np.diff(self.offsets), np.diff(other.offsets)
        row = np.repeat(np.arange(len(mine)), mine * theirs)
        within = ranges(np.zeros(len(mine), np.int64), mine * theirs)
        width = theirs[row]
        return np.stack([row, self.offsets[row] + within // width, other.offsets[row] + within % width], 1)

    def cells_of(self, rows: Ids) -> Ids:
        """Return the positions of some rows' texts."""
        return ranges(self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows])


def flatten(data: Data, name: str) -> FlatCells:
    """Return a column's texts; a data set that can hold lists in a cell says so by its method `lists`."""
    if hasattr(data, "lists"):
        return FlatCells(*data.lists(name))
    column = data.column(name)
    return FlatCells(column, np.arange(len(column) + 1))


def side_cells(data: Data, roles: Roles) -> tuple[FlatCells, FlatCells]:
    """Return the texts of queries and of keys: the same object where one column plays both."""
    queries = flatten(data, roles.query)
    return queries, queries if roles.key == roles.query else flatten(data, roles.key)


def pairs_of(queries: FlatCells, keys: FlatCells) -> npt.NDArray[np.int64]:
    """Return (e, 3), as `Flat.pairs`; of one column only pairs of different texts, for none is its own paraphrase."""
    examples = queries.pairs(keys)
    if queries is not keys:
        return examples
    ids = content_ids(queries.column)
    different: npt.NDArray[np.int64] = examples[ids[examples[:, 1]] != ids[examples[:, 2]]]
    return different
