"""The distinct contents of columns, and what is mined in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from nearfar.column import Column, Ids, content_id, content_ids, take
from nearfar.contracts import Sides
from nearfar.errors import InputError
from nearfar.tasks import Retrieval

EMPTY = content_id("")  # a document without text keeps its place in a corpus, and is nobody's negative


@dataclass(frozen=True)
class Distinct:
    """The distinct contents of columns: their ids (n,), and the column and row (n,) where each comes first."""

    columns: Sequence[Column]
    ids: Ids
    part: Ids
    row: Ids

    @classmethod
    def of(cls, *columns: Column) -> tuple[Self, Ids]:
        """Return the contents in order of appearance, and the place of each cell of the first column among them."""
        sizes = [len(column) for column in columns]
        ids = np.concatenate([content_ids(column) for column in columns])
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        order = np.argsort(first)
        order = order[ids[first[order]] != EMPTY]
        place = np.full(len(first), -1, np.int64)
        place[order] = np.arange(len(order))
        first = first[order]
        starts = np.cumsum([0, *sizes])
        part = np.searchsorted(starts, first, side="right") - 1
        return cls(columns, ids[first], part, first - starts[part]), place[inverse[: sizes[0]]]

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, places: Ids) -> list[Any]:
        """Return the contents at some places, in the order asked for."""
        part, row = self.part[places], self.row[places]
        found: list[Any] = [None] * len(places)
        for i, column in enumerate(self.columns):
            mine = np.flatnonzero(part == i)
            for at, cell in zip(mine.tolist(), take(column, row[mine])):
                found[at] = cell
        return found


def sides_of(source: Any) -> Sides:
    """Return what to mine in: of positives with one query and one key view, or the judgements of a retrieval task."""
    if isinstance(source, Retrieval):
        judged = [(q, d) for q, found in source.relevance.items() for d, grade in found.items() if grade > 0]
        rows = np.array(judged, np.int64).reshape(-1, 2)
        near = np.stack([content_ids(source.queries)[rows[:, 0]], content_ids(source.documents)[rows[:, 1]]], 1)
        return Sides(source.queries, source.documents, rows, near, near[:0])
    found: Sequence[Sides] = source.sides() if hasattr(source, "sides") else []
    if len(found) > 1:
        raise InputError(f"mining goes through one data set at a time, these are {len(found)}; mine each by itself")
    if not found:
        raise InputError(
            f"mining needs pairs of a query and a key, as positives.columns has; not {type(source).__name__}"
        )
    return found[0]
