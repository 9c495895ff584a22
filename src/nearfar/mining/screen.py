"""Candidates for each query's k best keys, from products in low precision; none of the k best is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids

TILE = 20_480  # keys of one product: the result stays in the processor's cache until it is read
ROUNDING_BLOCK = 2048  # keys rounded in one pass, which bounds the temporary copies
GROUP_SIZES = (32, 16, 8, 4, 2)  # keys whose maximum raises the threshold; the largest that leaves 4 k groups is used
Bits = npt.NDArray[np.signedinteger]  # scores, their bits read as integers
MINUS_INFINITY = {torch.bfloat16: -(2**7), torch.float32: -(2**23)}  # its bits, read as an integer
INTEGER = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
UNIT_ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}


@dataclass(frozen=True)
class Candidates:
    """Keys that may be among the k best of b queries, ordered by query: those of query i are `offsets[i : i + 2]`.

    `unresolved` queries (b,) have none: low precision cannot separate their best keys, so they need exact products.
    """

    keys: Tensor  # (e,) int64
    offsets: Tensor  # (b + 1,) int64
    unresolved: npt.NDArray[np.bool_]


class Screen:
    """Keys (m, d) in low precision, in which the candidates of blocks of queries are found.

    Positive scores in bf16 or float32 sort like the integers of the same bits, which the processor compares far faster.
    The mean key is subtracted from all keys: that shifts all scores of a query by one number, and makes them and their
    rounding errors smaller.

    The error bound: let q' and k' be the rounded q and k. Then |q.k - q'.k'| <= |q - q'| |k| + |q'| |k - k'|, the sum
    in float32 adds at most d 2^-23 |q'| |k'|, and rounding the result adds a relative error. If k groups of keys have
    maxima of at least t, then at least k keys score t or more: a key more than two such bounds below t is not among the
    k best.
    """

    def __init__(self, keys: Tensor, dtype: torch.dtype) -> None:
        m, width = keys.shape
        tiles = -(-m // TILE)
        self.tile = -(-m // (tiles * 64)) * 64  # equal tiles; a multiple of every group size
        self.dtype = dtype
        mean = keys.mean(0)
        self._keys = torch.zeros(tiles * self.tile, width, dtype=dtype)  # padding scores 0: never a candidate
        self._max_error = self._max_norm = 0.0
        for start in range(0, m, ROUNDING_BLOCK):
            exact = keys[start : start + ROUNDING_BLOCK] - mean
            rounded = self._keys[start : start + len(exact)]
            rounded.copy_(exact)
            # the subtraction rounds, too
            error = (exact - rounded.float()).norm(dim=1) + 2.0**-23 * exact.norm(dim=1)
            self._max_error = max(self._max_error, float(error.max()))
            self._max_norm = max(self._max_norm, float(rounded.float().norm(dim=1).max()))

    def fits(self, k: int) -> bool:
        """Say whether a tile has enough groups of keys for a threshold on the k best."""
        return 4 * k <= self.tile // GROUP_SIZES[-1]

    def candidates(self, queries: Tensor, k: int, excluded: tuple[Ids, Ids]) -> Candidates:
        """Return the keys that may be among the k best of queries (b, d): k or more for each resolved query.

        excluded: (query, key) rows of pairs that are left out, ordered by key.
        """
        rounded = queries.to(self.dtype)
        norm = rounded.float().norm(dim=1)
        error = (queries - rounded.float()).norm(dim=1) * (self._max_norm + self._max_error) + norm * (
            self._max_error + queries.shape[1] * 2.0**-23 * self._max_norm
        )  # (b,)
        search = _CandidateSearch(self.dtype, k, 2 * error, self.tile)
        scores = torch.empty(len(queries), self.tile, dtype=self.dtype)
        for start in range(0, len(self._keys), self.tile):
            torch.mm(rounded, self._keys[start : start + self.tile].T, out=scores)
            bits = scores.view(INTEGER[self.dtype])
            first, last = np.searchsorted(excluded[1], (start, start + self.tile))
            bits[excluded[0][first:last], excluded[1][first:last] - start] = MINUS_INFINITY[self.dtype]
            search.add_tile(bits, start)
        return search.candidates()


class _CandidateSearch:
    """Collects the candidates of a block of queries tile by tile, above thresholds that rise.

    margin: (b,) twice the bound on the error of each query's scores.
    """

    def __init__(self, dtype: torch.dtype, k: int, margin: Tensor, tile: int) -> None:
        self.dtype, self.k, self.margin = dtype, k, margin
        self.group_size = next(size for size in GROUP_SIZES if tile // size >= 4 * k or size == GROUP_SIZES[-1])
        self.limit = 4 * k + 256  # with more candidates than this, exact products of all keys are cheaper
        self.unresolved = np.zeros(len(margin), bool)
        self._best: Bits | None = None  # (b, k) the highest group maxima so far, ascending
        self._above = np.empty((len(margin), tile), bool)
        self._found: list[tuple[npt.NDArray[np.int16], Ids, Bits]] = []  # query, key and score of candidates, by tile

    def add_tile(self, bits: Tensor, start: int) -> None:
        """Collect the candidates among the keys from `start` on, by their scores (b, c)."""
        b, c = bits.shape
        self._add_maxima(bits.view(b, self.group_size, c // self.group_size).amax(1).numpy())
        np.greater_equal(bits.numpy(), self._thresholds()[:, None], out=self._above)
        cells = _true_cells(self._above)  # (e,)
        row = cells // c
        too_many = np.bincount(row, minlength=b) > self.limit
        if too_many.any():
            self.unresolved |= too_many
            cells, row = cells[~too_many[row]], row[~too_many[row]]
        self._found.append((row.astype(np.int16), cells - row * c + start, bits.numpy().reshape(-1)[cells]))

    def candidates(self) -> Candidates:
        """Return the candidates that reach the final thresholds, which are the highest."""
        row, key, bits = (np.concatenate(parts) for parts in zip(*self._found))
        above = bits >= self._thresholds()[row]
        count = np.bincount(row[above], minlength=len(self.margin))
        self.unresolved |= count > self.limit
        above &= ~self.unresolved[row]
        row, key = row[above], key[above]
        order = np.argsort(row, kind="stable")  # short integers: counted, not compared
        count[self.unresolved] = 0
        offsets = np.concatenate([[0], np.cumsum(count)])
        return Candidates(torch.from_numpy(key[order]), torch.from_numpy(offsets), self.unresolved)

    def _add_maxima(self, maxima: Bits) -> None:
        """Merge the maxima (b, g) of more groups of keys into the k highest."""
        both = np.sort(maxima if self._best is None else np.concatenate([self._best, maxima], 1), axis=1)
        self._best = both[:, -self.k :].copy()  # numpy sorts short integers in vector registers: no selection is faster

    def _thresholds(self) -> Bits:
        """Return the bits (b,) of the least score of a candidate; where it is not positive, the query is unresolved."""
        assert self._best is not None
        kth_best = torch.from_numpy(self._best[:, 0].copy()).view(self.dtype).float()
        least = kth_best - self.margin - 2 * UNIT_ROUNDOFF[self.dtype] * kth_best.abs()
        self.unresolved |= ~(least > 0).numpy()
        # cutting bits off a positive number rounds it down
        thresholds = least.clamp(min=0).view(torch.int32) >> (16 if self.dtype == torch.bfloat16 else 0)
        thresholds[torch.from_numpy(self.unresolved)] = torch.iinfo(INTEGER[self.dtype]).max
        bits: Bits = thresholds.to(INTEGER[self.dtype]).numpy()
        return bits


def _true_cells(mask: npt.NDArray[np.bool_]) -> Ids:
    """Return the flat positions of the few true cells; the others are skipped in words of eight."""
    words = np.flatnonzero(mask.reshape(-1).view(np.uint64) != 0)
    cells = np.flatnonzero(mask.reshape(-1, 8)[words])
    positions: Ids = words[cells >> 3] * 8 + (cells & 7)
    return positions
