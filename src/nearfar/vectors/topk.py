"""Exact top-k by inner product, block by block: for metrics and search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from nearfar.column import Ids
from nearfar.compute.fp32_products import product
from nearfar.errors import InputError
from nearfar.vectors.geometry import check_vectors
from nearfar.vectors.ranking import Ranking

Vectors = Tensor | npt.NDArray[np.floating]
_LOW = 2**32 - 1  # the low half of a sort key
_LANES = 64  # the number of keys in a product is padded to a multiple of this, see `_product`


class TopK:
    """The k best keys of each query, among keys that are added in parts; it stores (n, k) scores, never (n, m).

    Args:
        queries: (n, d) floats, tensor or array.
        k: number of keys to keep, at least 1.
        device: where products are computed; by default where the queries are, for arrays a GPU if there is one.
        block: queries and keys of one product: memory is about 40 bytes x the product of the two.

    The result does not depend on the blocks: products are in float32, and equal keys get equal scores in any block.

    Errors: `InputError`: shapes that do not fit, rows that are not finite, k < 1.
    """

    def __init__(
        self,
        queries: Vectors,
        k: int,
        *,
        device: torch.device | str | None = None,
        block: tuple[int, int] = (512, 8192),
    ) -> None:
        if k < 1 or min(block) < 1:
            raise InputError(f"topk: k and block must be at least 1, they are {k} and {block}")
        if device is None and not isinstance(queries, Tensor) and torch.cuda.is_available():
            device = "cuda"
        self.k, self.size, (rows, self._columns) = k, 0, block
        self._queries = [*torch.split(check_vectors(_tensor(queries, device), "queries", least=0).float(), rows)]
        self._starts = np.cumsum([0, *map(len, self._queries)])  # (blocks + 1,)
        self._best = [torch.empty(len(q), 0, dtype=torch.int64, device=q.device) for q in self._queries]

    @torch.no_grad()
    def add(
        self, keys: Vectors, *, allowed: npt.ArrayLike | None = None, excluded: tuple[Ids, Ids] | None = None
    ) -> None:
        """Add the next keys (m, d); they are rows `size` to `size + m` of the whole.

        allowed: (m,) bool, the keys that may be found. excluded: query rows (e,) and key rows (e,), counted from the
        first key added, that are not compared.
        """
        width = self._queries[0].shape[1]
        if keys.ndim != 2 or keys.shape[1] != width:
            raise InputError(f"keys must be (m, {width}) like the queries, they are {tuple(keys.shape)}")
        mask = np.ones(len(keys), bool) if allowed is None else np.asarray(allowed)
        if mask.shape != (len(keys),) or mask.dtype != bool:
            raise InputError(f"allowed must be ({len(keys)},) bool, it is {mask.shape} {mask.dtype}")
        excluded = _sorted_by_query(excluded)
        for start in range(0, len(keys), self._columns):
            block = _tensor(keys[start : start + self._columns], self._queries[0].device)
            block = check_vectors(block, "keys", first=self.size).float()
            forbidden = np.flatnonzero(~mask[start : start + len(block)])
            for i in range(len(self._queries)):
                self._compare(i, block, torch.from_numpy(forbidden).to(block.device), excluded)
            self.size += len(block)

    def _compare(self, i: int, keys: Tensor, forbidden: Tensor, excluded: tuple[Ids, Ids]) -> None:
        """Update the best keys of one block of queries by one block of keys."""
        scores = _product(self._queries[i], keys)  # (b, c)
        scores[:, forbidden] = -torch.inf
        first, last = np.searchsorted(excluded[0], self._starts[i : i + 2])
        rows, columns = excluded[0][first:last] - self._starts[i], excluded[1][first:last] - self.size
        in_block = (columns >= 0) & (columns < len(keys))
        scores[torch.from_numpy(rows[in_block]), torch.from_numpy(columns[in_block])] = -torch.inf
        best = self._best[i]
        kept = torch.arange(len(keys), device=keys.device)
        if best.shape[1] == self.k:  # sort only keys above the k-th best of any query; a tie is later, and so it loses
            kept = (scores > sorted_scores(best[:, -1:])).any(0).nonzero()[:, 0]
            scores = scores[:, kept]
        both = torch.cat([best, sort_keys(scores, kept + self.size)], 1)
        self._best[i] = both.topk(min(self.k, both.shape[1]), dim=1).values

    def ranking(self) -> Ranking:
        """Return the best of the keys added, (n, min(k, m))."""
        best = torch.cat(self._best)
        scores = sorted_scores(best)
        rows = torch.where(torch.isneginf(scores), -1, sorted_rows(best))
        return Ranking(rows.cpu().numpy(), scores.cpu().numpy())


def topk(
    queries: Vectors,
    keys: Vectors,
    k: int,
    *,
    allowed: npt.ArrayLike | None = None,
    excluded: tuple[Ids, Ids] | None = None,
    device: torch.device | str | None = None,
    block: tuple[int, int] = (512, 8192),
) -> Ranking:
    """Return the k keys (m, d) with the largest inner product for each query (n, d); all of them where k > m.

    allowed, excluded: see `TopK.add`; device, block and errors: see `TopK`.

    Example:
        >>> topk(np.eye(2), np.eye(2), 1).rows.tolist()
        [[0], [1]]
    """
    best = TopK(queries, k, device=device, block=block)
    best.add(keys, allowed=allowed, excluded=excluded)
    return best.ranking()


def _tensor(x: Vectors, device: torch.device | str | None) -> Tensor:
    if not isinstance(x, Tensor):  # torch warns about read-only arrays, such as memory-mapped files
        x = torch.from_numpy(np.ascontiguousarray(x) if x.flags.writeable else x.copy())
    return x.detach().to(device)


def _product(queries: Tensor, keys: Tensor) -> Tensor:
    """Return (b, c) inner products in float32, equal for equal keys.

    Without padding, the last columns are computed by another kernel, whose last bit may differ.
    """
    padded = pad(keys, (0, 0, 0, -len(keys) % _LANES))
    with torch.autocast(queries.device.type, enabled=False):
        return product(queries, padded)[:, : len(keys)]


def sort_keys(scores: Tensor, rows: Tensor) -> Tensor:
    """Return (b, c) int64, larger for higher scores, then for lower rows: distinct, so every top-k has one order."""
    bits = _flip(scores.add(0.0).view(torch.int32))  # adding zero makes -0.0 equal to 0.0
    return bits.to(torch.int64).bitwise_left_shift_(32).bitwise_or_(_LOW - rows)


def sorted_scores(best: Tensor) -> Tensor:
    """Return the scores in sort keys."""
    return _flip((best >> 32).to(torch.int32)).view(torch.float32)


def sorted_rows(best: Tensor) -> Tensor:
    """Return the rows in sort keys."""
    return _LOW - (best & _LOW)


def _flip(bits: Tensor) -> Tensor:
    """Return the bits of floats as integers of the same order, and the reverse: negative ones flip all but the sign."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _sorted_by_query(excluded: tuple[Ids, Ids] | None) -> tuple[Ids, Ids]:
    if excluded is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows, columns = (np.asarray(ids, np.int64) for ids in excluded)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise InputError(f"excluded must be two vectors of one length, they are {rows.shape} and {columns.shape}")
    order = np.argsort(rows, kind="stable")
    return rows[order], columns[order]
