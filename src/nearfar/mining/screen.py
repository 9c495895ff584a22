"""The keys that may be among a query's k best, found with rough products: none that belongs there is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids

TILE = 20_480  # keys of one product: its result stays in the cache while it is looked through
ROUNDED = 2048  # keys rounded at a time: a few copies of so many exist
GROUPS = (32, 16, 8, 4, 2)  # columns that stand for one when the floor is raised: no more than leaves 4 k
Bits = npt.NDArray[np.signedinteger]  # of scores, as integers
MINUS_INFINITY = {torch.bfloat16: -(2**7), torch.float32: -(2**23)}  # its bits, as an integer
INTEGER = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}  # of one number, relative


@dataclass(frozen=True)
class Candidates:
    """Keys that may be among the best of some queries, (e,), by query: those of query i are `offsets[i:i + 2]`.

    `unsure` queries (b,) have no candidates here, as rough products cannot tell their best keys apart.
    """

    keys: Tensor  # (e,) int64
    offsets: Tensor  # (b + 1,) int64
    unsure: npt.NDArray[np.bool_]


class Screen:
    """Keys (m, d) in a rough type, ready to be met by blocks of queries.

    Of scores in bf16 or float32, positive ones sort like the integers of the same bits, which the processor compares
    far faster. Keys are taken relative to their mean: that moves all scores of a query by one number and makes
    them smaller, and the rounding with them.

    The bound: let q' and k' be what q and k are rounded to. Then |q.k - q'.k'| <= |q - q'| |k| + |q'| |k - k'|, the sum
    in float32 adds at most d 2^-23 |q'| |k'|, and the rounding of the result a share of itself. k groups of columns
    whose best is at least t hold k keys, so a key that is more than two such errors below t is none of the k best.
    """

    def __init__(self, keys: Tensor, kind: torch.dtype) -> None:
        m, width = keys.shape
        tiles = -(-m // TILE)
        self.tile = -(-m // (tiles * 64)) * 64  # even shares; a multiple of the group
        self.kind, self.size = kind, m
        mean = keys.mean(0)
        self._keys = torch.zeros(tiles * self.tile, width, dtype=kind)  # zeros at the end score 0: never a candidate
        self._error = self._length = 0.0
        for start in range(0, m, ROUNDED):
            exact = keys[start : start + ROUNDED] - mean
            rough = self._keys[start : start + len(exact)]
            rough.copy_(exact)
            # the subtraction rounds, too
            error = (exact - rough.float()).norm(dim=1) + 2.0**-23 * exact.norm(dim=1)
            self._error = max(self._error, float(error.max()))
            self._length = max(self._length, float(rough.float().norm(dim=1).max()))

    def fits(self, k: int) -> bool:
        """Say whether there are enough keys for k to be found this way."""
        return 4 * k <= self.tile // GROUPS[-1]

    def candidates(self, queries: Tensor, k: int, banned: tuple[Ids, Ids]) -> Candidates:
        """Return who may be among the k best of queries (b, d); k keys at least for each one that is sure.

        banned: (query, key) rows that do not meet, ordered by key.
        """
        rough = queries.to(self.kind)
        length = rough.float().norm(dim=1)
        error = (queries - rough.float()).norm(dim=1) * (self._length + self._error) + length * (
            self._error + queries.shape[1] * 2.0**-23 * self._length
        )  # (b,)
        search = _Search(self.kind, k, 2 * error, self.tile)
        scores = torch.empty(len(queries), self.tile, dtype=self.kind)
        for start in range(0, len(self._keys), self.tile):
            torch.mm(rough, self._keys[start : start + self.tile].T, out=scores)
            bits = scores.view(INTEGER[self.kind])
            first, last = np.searchsorted(banned[1], (start, start + self.tile))
            bits[banned[0][first:last], banned[1][first:last] - start] = MINUS_INFINITY[self.kind]
            search.see(bits, start)
        return search.found()


class _Search:
    """What is known of the best keys of a block of queries while tile after tile goes by."""

    def __init__(self, kind: torch.dtype, k: int, slack: Tensor, tile: int) -> None:
        self.kind, self.k, self.slack = kind, k, slack
        self.group = next(size for size in GROUPS if tile // size >= 4 * k or size == GROUPS[-1])
        self.limit = 4 * k + 256  # candidates of a query beyond which the exact product is the cheaper
        self.unsure = np.zeros(len(slack), bool)
        self._best: Bits | None = None  # (b, k), ascending
        self._passed = np.empty((len(slack), tile), bool)
        self._seen: list[tuple[npt.NDArray[np.int16], Ids, Bits]] = []  # query, key and score of each that passed

    def see(self, bits: Tensor, start: int) -> None:
        """Look through the scores (b, c) of the keys from `start` on."""
        b, c = bits.shape
        self._raise(bits.view(b, self.group, c // self.group).amax(1).numpy())
        np.greater_equal(bits.numpy(), self._floor()[:, None], out=self._passed)
        cells = _true(self._passed)  # (e,)
        row = cells // c
        many = np.bincount(row, minlength=b) > self.limit
        if many.any():
            self.unsure |= many
            cells, row = cells[~many[row]], row[~many[row]]
        self._seen.append((row.astype(np.int16), cells - row * c + start, bits.numpy().reshape(-1)[cells]))

    def _raise(self, top: Bits) -> None:
        """Let the best of more groups (b, g) of columns count."""
        both = np.sort(top if self._best is None else np.concatenate([self._best, top], 1), axis=1)
        self._best = both[:, -self.k :].copy()  # numpy sorts short integers in vector registers: no selection is faster

    def _floor(self) -> Bits:
        """Return the least bits (b,) that a candidate has; where they are not positive, the query is unsure."""
        assert self._best is not None
        last = torch.from_numpy(self._best[:, 0].copy()).view(self.kind).float()
        low = last - self.slack - 2 * ROUNDING[self.kind] * last.abs()
        self.unsure |= ~(low > 0).numpy()
        # cutting bits off a positive number rounds it down
        floor = low.clamp(min=0).view(torch.int32) >> (16 if self.kind == torch.bfloat16 else 0)
        floor[torch.from_numpy(self.unsure)] = torch.iinfo(INTEGER[self.kind]).max
        bits: Bits = floor.to(INTEGER[self.kind]).numpy()
        return bits

    def found(self) -> Candidates:
        """Return the candidates that pass the last, highest floor."""
        row, key, bits = (np.concatenate(parts) for parts in zip(*self._seen))
        passed = bits >= self._floor()[row]
        count = np.bincount(row[passed], minlength=len(self.slack))
        self.unsure |= count > self.limit
        passed &= ~self.unsure[row]
        row, key = row[passed], key[passed]
        order = np.argsort(row, kind="stable")  # short integers: counted, not compared
        count[self.unsure] = 0
        offsets = np.concatenate([[0], np.cumsum(count)])
        return Candidates(torch.from_numpy(key[order]), torch.from_numpy(offsets), self.unsure)


def _true(mask: npt.NDArray[np.bool_]) -> Ids:
    """Return the flat places of the few that are true, looking at eight cells at once."""
    words = np.flatnonzero(mask.reshape(-1).view(np.uint64) != 0)
    cells = np.flatnonzero(mask.reshape(-1, 8)[words])
    places: Ids = words[cells >> 3] * 8 + (cells & 7)
    return places
