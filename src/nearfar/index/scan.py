"""The keys of largest inner product, block by block in numpy: every key is compared, and torch is not needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.index.rows import Vectors

_Rows = npt.NDArray[np.int64]
_BLOCK = 8192  # keys of a product: at 64 queries the scores are 2 MB
_BLOCK_OF_ONE = 65_536  # for one query, whose block is soon done
_PART = 256  # scores of which the largest is looked at first
_SAMPLE = 2048  # of the first keys, whose k-th best is the first cut
FEW = 6  # fewer queries are compared one by one: a product of matrices would first copy the keys
_LOWEST = np.finfo(np.float32).min


class Scan:
    """The candidates for the k best keys of each query, among keys that are added in blocks.

    queries: (n, d) float32. slack: (n,) how far a score may be below the k-th best to be a candidate. Products are
    rounded to float32 in an order that differs by a key's place: `rounding` is its bound for unit vectors, and twice as
    much keeps every key that is among the k best.
    """

    def __init__(self, queries: Vectors, k: int, slack: npt.NDArray[np.float32]) -> None:
        self._queries, self._k, self._slack = np.ascontiguousarray(queries), k, slack
        self._cut = np.full(len(queries), _LOWEST, np.float32)  # the least score of a candidate so far
        self.block = _BLOCK if len(queries) > 1 else _BLOCK_OF_ONE  # the most keys that are added at once
        self._scores = np.empty((len(queries), self.block), np.float32)
        self._pool = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self._new: list[tuple[_Rows, _Rows, npt.NDArray[np.float32]]] = []
        self._count = 0  # of the new ones

    def add(
        self,
        keys: Vectors,
        rows: _Rows | int,
        allowed: npt.NDArray[np.bool_] | None = None,
        scales: Vectors | None = None,
    ) -> None:
        """Compare keys (m, d), at most `block`. rows: their numbers (m,), or that of the first, where others follow it.

        allowed: (m,) which may be found; None is all. scales: (m,) by which the keys are to be multiplied, and their
        scores are.
        """
        if not len(keys):
            return
        scores = self._product(keys)  # (n, m)
        if scales is not None:
            scores *= scales
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        if not self._new and not len(self._pool[0]) and len(keys) > self._k:  # else all of the first block would pass
            least = np.partition(scores[:, : max(_SAMPLE, self._k)], -self._k, axis=1)[:, -self._k]
            self._cut = np.maximum(self._cut, least - self._slack)
        query, column = at_least(scores, self._cut)
        if len(query):
            found = column + rows if isinstance(rows, int) else rows[column]
            self._new.append((query, found, scores[query, column]))
            self._count += len(query)
            if self._count >= max(len(self._queries) * self._k, len(self._pool[0]) // 2):
                self._prune()

    def candidates(self) -> list[_Rows]:
        """Return the candidates of each query: the k best keys that were added are among them."""
        self._prune()
        query, rows, _ = self._pool
        return np.split(rows, np.searchsorted(query, np.arange(1, len(self._queries))))

    def _product(self, keys: Vectors) -> Vectors:
        scores = self._scores[:, : len(keys)]
        if len(self._queries) >= FEW:
            return np.matmul(self._queries, keys.T, out=scores)
        for i, query in enumerate(self._queries):
            np.vecdot(keys, query, out=scores[i])
        return scores

    def _prune(self) -> None:
        """Keep the k best of each query and what lies within its slack below."""
        parts = [self._pool, *self._new]
        query, rows, scores = (np.concatenate([part[i] for part in parts]) for i in range(3))
        order = np.lexsort((-scores, query))
        query, rows, scores = query[order], rows[order], scores[order]
        starts = np.searchsorted(query, np.arange(len(self._queries) + 1))
        full = np.flatnonzero(np.diff(starts) >= self._k)
        self._cut[full] = np.maximum(self._cut[full], scores[starts[full] + self._k - 1] - self._slack[full])
        kept = scores >= self._cut[query]
        self._pool, self._new, self._count = (query[kept], rows[kept], scores[kept]), [], 0


def rounding(dim: int) -> float:
    """Return the bound of the error of an inner product of two unit vectors that is summed in float32."""
    return dim * 2.0**-24


def at_least(scores: Vectors, cut: Vectors) -> tuple[_Rows, _Rows]:
    """Return where scores (n, m) are at least their row's cut (n,): rows and columns."""
    n, m = scores.shape
    whole = m - m % _PART
    parts = scores[:, :whole].reshape(n, -1, _PART)
    query, part = np.nonzero(parts.max(2) >= cut[:, None])  # most parts have none
    which, column = np.nonzero(parts[query, part] >= cut[query, None])
    rest_query, rest = np.nonzero(scores[:, whole:] >= cut[:, None])
    return np.append(query[which], rest_query), np.append(part[which] * _PART + column, rest + whole)
