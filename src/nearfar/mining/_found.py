"""Mining in one data set: its distinct queries against its distinct keys, by a model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.contracts import Sides
from nearfar.mining._texts import Distinct
from nearfar.mining.hard import Controls, hard_negatives
from nearfar.model import Model
from nearfar.ragged import meetings

CHUNK = 8192  # cells embedded, and pairs multiplied, at once


@dataclass(frozen=True)
class Found:
    """The negatives (n, k) of one data set's examples, as cells, and the scores of positives and of negatives."""

    rows: Ids
    near: npt.NDArray[np.float32]
    far: npt.NDArray[np.float32]

    @classmethod
    def of(cls, model: Model, side: Sides, near: Ids, neither: Ids, controls: Controls) -> Found:
        """Mine among the distinct keys, for the distinct queries."""
        queries, asked = Distinct.of(side.query)
        keys, _ = Distinct.of(side.key)
        query_vectors, key_vectors = _embedded(model, queries, "query"), _embedded(model, keys, "key")
        edges = _places(near, queries, keys)
        same = np.stack([queries.ids, queries.ids], 1)  # a key that repeats its query, and is no answer, is neither
        excluded = _places(np.concatenate([neither, same]), queries, keys)
        mined = hard_negatives(query_vectors, key_vectors, edges, controls, excluded=excluded)
        whose = asked[side.examples[:, 0]]
        rows = np.where(mined.rows < 0, -1, keys.row[mined.rows])[whose]  # (n, k)
        return cls(rows, _products(query_vectors, key_vectors, *edges), mined.scores[whose][rows >= 0])


def _places(contents: Ids, queries: Distinct, keys: Distinct) -> tuple[Ids, Ids]:
    """Return where contents of a query and a key (e, 2) lie among these, each pair once."""
    contents = np.unique(contents, axis=0)
    pair, row = meetings(contents[:, 0], queries.ids)
    found, column = meetings(contents[pair, 1], keys.ids)
    return row[found], column


def _embedded(model: Model, contents: Distinct, role: Literal["query", "key"]) -> npt.NDArray[np.float32]:
    """Return the vectors of contents; the disk keeps none of them, for the next time the weights are others."""
    vectors = np.empty((len(contents), model.dim), np.float32)
    for start in range(0, len(contents), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(contents)))
        vectors[places] = model.embed(contents.texts(places), role=role, first=start)
    return vectors


def _products(
    queries: npt.NDArray[np.float32], keys: npt.NDArray[np.float32], row: Ids, column: Ids
) -> npt.NDArray[np.float32]:
    scores = np.empty(len(row), np.float32)
    for start in range(0, len(row), CHUNK):
        part = slice(start, start + CHUNK)
        scores[part] = np.einsum("ed,ed->e", queries[row[part]], keys[column[part]])
    return scores
