"""Copies among a query's nearest keys: those with the vector of one of its positives, or of the query itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids, ranges
from nearfar.mining.nearest import NearestKeys

# The distance of two vectors, over their length, up to which they are one (a cosine of 1 - 5e-7). Measured with MiniLM:
# copies in other batches are 1e-6 apart, different texts of NL2Bash and TrecQA 0.036 at least (a cosine of 0.9993).
DISTANCE = 1e-3
SPAN = 8.0  # between the scaled scores of two queries, which lie in [-2, 2]


class CopyFinder:
    """Finds the keys (m, d) that are copies for queries (n, d), given their positive pairs, ordered by query.

    positives: rows of queries (e,) and of keys (e,). scores: (e,) their products. distance: of a copy's vector from
    the other, over its length, at most.

    A copy of a positive has its score, so that only the few keys with about that score are compared as vectors.
    """

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        positives: tuple[Ids, Ids],
        scores: npt.NDArray[np.float32],
        distance: float = DISTANCE,
    ) -> None:
        self.distance = distance
        self.queries, self.keys, self.positives = queries, keys, positives
        norms = queries.norm(dim=1).double()
        self._scale = (norms * float(keys.norm(dim=1).max())).clamp(min=1e-30).cpu().numpy()  # (n,)
        self._query_scores = norms.square().cpu().numpy()  # (n,) of a copy of the query
        self._scores = scores

    @torch.inference_mode()
    def __call__(self, block: NearestKeys) -> npt.NDArray[np.bool_]:
        """Return which keys of a block (b, k) are copies."""
        b = len(block.rows)
        return self.of_rows(np.arange(block.start, block.start + b), block.rows, block.scores)

    @torch.inference_mode()
    def of_rows(self, query: Ids, rows: Ids, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return which keys (b, k), with their scores, are copies for some queries (b,), ascending."""
        first = np.searchsorted(self.positives[0], query)
        count = np.searchsorted(self.positives[0], query, side="right") - first
        pairs = ranges(first, count)
        owner = np.concatenate([np.repeat(np.arange(len(query)), count), np.arange(len(query))])  # (r,)
        key = np.concatenate([self.positives[1][pairs], np.full(len(query), -1)])  # (r,) -1: the query itself
        score = np.concatenate([self._scores[pairs], self._query_scores[query]])
        value = self._values(owner, score, query)
        order = np.argsort(value)
        row, column = np.nonzero(rows >= 0)
        candidate = self._values(row, scores[row, column].astype(np.float64), query)
        low = np.searchsorted(value[order], candidate - 2 * self.distance)
        near = np.maximum(np.searchsorted(value[order], candidate + 2 * self.distance, side="right") - low, 0)
        cell, reference = np.repeat(np.arange(len(row)), near), order[ranges(low, near)]
        equal = self._equal(rows[row[cell], column[cell]], key[reference], query[row[cell]])
        copies = np.zeros(rows.shape, bool)
        copies[row[cell[equal]], column[cell[equal]]] = True
        return copies

    def _values(self, owner: Ids, score: npt.NDArray[np.float64], query: Ids) -> npt.NDArray[np.float64]:
        """Return scores in the order of their queries, each in a range of its own."""
        values: npt.NDArray[np.float64] = SPAN * owner + np.clip(score / self._scale[query[owner]], -2, 2)
        return values

    def _equal(self, key: Ids, other: Ids, query: Ids) -> npt.NDArray[np.bool_]:
        """Return whether keys (c,) have the vectors of others (c,), where -1 is the query (c,)."""
        equal = np.zeros(len(key), bool)
        for start in range(0, len(key), 2**16):
            part = slice(start, start + 2**16)
            left = self.keys[torch.from_numpy(key[part])]
            right = self.keys[torch.from_numpy(other[part])]  # of -1 the last one, which is replaced
            own = torch.from_numpy(other[part] < 0).to(right.device)
            right[own] = self.queries[torch.from_numpy(query[part])][own]
            equal[part] = ((left - right).norm(dim=1) <= self.distance * right.norm(dim=1)).cpu().numpy()
        return equal
