"""Leading coordinates: half of each vector or less, by which most rows are ruled out and none is missed.

Vectors of a model differ along some axes far more than along others. With P the leading ones of their principal axes,

    <q, x> = <Pq, Px> + <q - P'Pq, x - P'Px>  <=  <Pq, Px> + |q - P'Pq| |x - P'Px|,

by Cauchy and Schwarz. Px and the length of the rest are kept as one short row, so the bound of all rows is one product
that reads half as much memory or less. Rows whose bound is below the k-th best score found so far are not among the k
best; of the rest, one in a hundred or so, the whole vectors are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.index.backends.vector_file import VectorFile
from nearfar.index.rescore import exact_scores
from nearfar.index.rows import Vectors
from nearfar.index.scan import at_least, rounding

Slots = npt.NDArray[np.int64]
FEWEST = 10_000  # rows for which it is worth a file
_PART = 256  # bounds of which the largest is looked at first
_LANES = 8  # of floats: the length of a short row is a multiple
_SAMPLE, _QUERIES = 4096, 64  # rows by which axes are chosen, and of these as queries
_TOO_MANY = 0.1  # the share of rows that is left, at which all are compared instead
_SHARES = ((0.25, 0.005), (0.375, 0.005), (0.5, _TOO_MANY))  # of the axes, taken where so many rows are left, at most
_BLOCK = 16_384  # rows of a product
_FIRST = (2, 32)  # times k, and so many more, of the highest bounds are scored for a first k-th best
_PATIENCE = 8  # queries in a row without use, after which only each such one tries again


class Leading:
    """The short rows of a file of vectors, in a file beside it; with the axes (a, d) in float64, of unit length."""

    def __init__(self, place: Path, number: int, axes: npt.NDArray[np.float64]) -> None:
        self._axes = axes
        self._file = VectorFile(place / f"leading-{number:06}", 4 * (len(axes) + 1))
        self._in_vain = 0  # queries in a row of which too many rows were left

    @classmethod
    def open(cls, place: Path, number: int, dim: int) -> Self | None:
        """Return those of a number; None where there are none. Errors: `InputError` for damaged axes."""
        path = _axes_file(place, number)
        if not path.is_file():
            return None
        found = np.fromfile(path, "<f8")
        if not len(found) or len(found) % dim or not np.isfinite(found).all():
            raise InputError(f"{path}: is damaged; build the index again")
        axes = found.reshape(-1, dim)
        if not np.allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-9):
            raise InputError(f"{path}: is damaged; build the index again")
        return cls(place, number, axes)

    @classmethod
    def create(
        cls, place: Path, number: int, sample: Vectors, kth_best: Callable[[Vectors], npt.NDArray[np.floating]]
    ) -> Self | None:
        """Choose axes by a sample of rows (n, d), and keep them; None where they would rule out too few.

        kth_best: returns for queries (q, d) the score (q,) of their k-th best among all rows, which a sample does not
        show: the more rows there are, the nearer are the nearest.
        """
        rows, queries = sample.astype(np.float64), sample[:: max(1, len(sample) // _QUERIES)]
        least, principal = kth_best(queries)[:, None], np.linalg.eigh(rows.T @ rows)[1][:, ::-1].T  # (d, d) axes
        for share, enough in _SHARES:
            count = int(share * sample.shape[1]) // _LANES * _LANES - 1
            made = cls(place, number, np.ascontiguousarray(principal[: max(count, 0)]))
            bounds = made._queries(queries) @ made._rows(sample).T  # (q, n)
            if count > 0 and (bounds >= least).mean() <= enough:
                held = made._axes.astype("<f8").view(np.uint8)
                VectorFile(_axes_file(place, number), 8 * sample.shape[1]).write(0, held)
                return made
        return None

    @staticmethod
    def discard(place: Path, number: int) -> None:
        """Remove those of a number, where there are any."""
        for path in (_axes_file(place, number), place / f"leading-{number:06}"):
            path.unlink(missing_ok=True)

    @staticmethod
    def sampled(slots: Slots) -> Slots:
        """Return the slots of a sample."""
        return slots[:: max(1, len(slots) // _SAMPLE)]

    def write(self, first: int, vectors: Vectors) -> None:
        """Write the short rows of vectors (n, d), from number `first` on, and flush them."""
        self._file.write(first, self._rows(vectors).astype("<f4").view(np.uint8))

    def left(
        self,
        query: Vectors,
        k: int,
        count: int,
        allowed: npt.NDArray[np.bool_] | None,
        read: Callable[[Slots], Vectors],
    ) -> Slots | None:
        """Return the slots of rows that may be among the k best of the first `count`; None where they are too many.

        allowed: (count,) which may be found; None is all. read: returns the vectors of slots.
        """
        if self._in_vain >= _PATIENCE and self._in_vain % _PATIENCE:
            self._in_vain += 1
            return None
        rows = self._file.rows(count).view("<f4")  # (n, a + 1)
        asked = self._queries(query[None])[0].astype(np.float32)
        slack = np.float32(4 * rounding(rows.shape[1] + 4) * np.linalg.norm(query))
        bounds = np.empty(count, np.float32)
        for start in range(0, count, _BLOCK):
            np.vecdot(rows[start : start + _BLOCK], asked, out=bounds[start : start + _BLOCK])
        if allowed is not None:
            bounds[~allowed] = -np.inf
        least = _kth_best(query, _highest(bounds, k), k, read)
        slots = at_least(bounds[None], np.array([least - slack]))[1]
        slots = slots[bounds[slots] > -np.inf]
        self._in_vain = 0 if len(slots) <= _TOO_MANY * count else self._in_vain + 1
        return None if self._in_vain else slots

    def _rows(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        whole = vectors.astype(np.float64)
        leading = whole @ self._axes.T  # (n, a)
        rest = np.linalg.norm(whole - leading @ self._axes, axis=1, keepdims=True)
        return np.hstack([leading, rest])

    _queries = _rows  # a query is cut alike


def _highest(bounds: Vectors, k: int) -> Slots:
    """Return the slots of the highest bounds, more than k of them; a row that may not be found has the bound -inf."""
    wanted = _FIRST[0] * k + _FIRST[1]
    if len(bounds) <= wanted:
        return np.flatnonzero(bounds > -np.inf)
    whole = bounds[: len(bounds) // _PART * _PART].reshape(-1, _PART).max(1)
    cut = np.partition(whole, -wanted)[-wanted] if len(whole) > wanted else -np.inf  # so many reach it, at least
    slots = at_least(bounds[None], np.array([cut], np.float32))[1]
    slots = slots[np.argpartition(bounds[slots], -wanted)[-wanted:]] if len(slots) > wanted else slots
    return slots[bounds[slots] > -np.inf]


def _kth_best(query: Vectors, slots: Slots, k: int, read: Callable[[Slots], Vectors]) -> np.float32:
    """Return a score that k of the slots reach; -inf where there are not enough."""
    if len(slots) < k:
        return np.float32(-np.inf)
    found: np.float32 = np.partition(exact_scores(query, read(slots)), -k)[-k]
    return found


def _axes_file(place: Path, number: int) -> Path:
    return place / f"axes-{number:06}"
