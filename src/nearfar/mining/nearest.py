"""The k nearest keys of every query but those that are banned: exact, block by block, on all cores."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids
from nearfar.compute.hardware import cpu_bf16
from nearfar.mining.screen import Candidates, Screen
from nearfar.vectors.topk import sort_keys, sorted_rows, sorted_scores, topk

QUERY_BLOCK = 512  # queries met at once by each thread
GPU_QUERY_BLOCK = 4096
FEWEST_KEYS = 4096  # keys below which the screen does not pay


@dataclass(frozen=True)
class NearestKeys:
    """The nearest keys (b, k) of the queries from `start` on, best first; where there are fewer, row -1, score -inf."""

    start: int
    rows: Ids
    scores: npt.NDArray[np.float32]


class NearestSearch:
    """Finds the k nearest of keys (m, d) for queries (n, d), tensors of float32, except banned (query, key) rows.

    Scores are exact: float32 products of float32 vectors, the same for equal vectors wherever they lie.
    """

    def __init__(self, queries: Tensor, keys: Tensor, k: int, banned: tuple[Ids, Ids]) -> None:
        self.queries, self.keys, self.k = queries, keys, min(k, len(keys))
        order = np.lexsort((banned[1], banned[0]))
        self.banned = banned[0][order], banned[1][order]
        screen = None
        if keys.device.type == "cpu" and len(keys) >= FEWEST_KEYS:
            screen = Screen(keys, torch.bfloat16 if cpu_bf16() else torch.float32)
        self._screen = screen if screen is not None and screen.fits(self.k) else None
        self._size = QUERY_BLOCK if keys.device.type == "cpu" else GPU_QUERY_BLOCK

    def __iter__(self) -> Iterator[NearestKeys]:
        """Yield one block of queries after the other, in order, though several threads are at it."""
        starts = range(0, len(self.queries), self._size)
        threads = torch.get_num_threads() if self._screen is not None else 1
        waiting: deque[Future[NearestKeys]] = deque()
        with _threads(threads) as pool:
            for start in starts:
                waiting.append(pool.submit(self._block, start))
                if len(waiting) > 2 * threads:  # never more results than a few blocks'
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @torch.inference_mode()
    def _block(self, start: int) -> NearestKeys:
        queries = self.queries[start : start + self._size]
        first, last = np.searchsorted(self.banned[0], (start, start + len(queries)))
        banned = self.banned[0][first:last] - start, self.banned[1][first:last]
        if self._screen is None:
            found = topk(queries, self.keys, self.k, excluded=banned)
            return NearestKeys(start, *self._rescored(queries, found.rows))
        by_key = np.argsort(banned[1], kind="stable")
        candidates = self._screen.candidates(queries, self.k, (banned[0][by_key], banned[1][by_key]))
        rows, scores = _best(queries, self.keys, candidates, self.k)
        if candidates.unsure.any():
            self._make_sure(candidates.unsure, queries, banned, rows, scores)
        return NearestKeys(start, rows, scores)

    def _make_sure(
        self,
        unsure: npt.NDArray[np.bool_],
        queries: Tensor,
        banned: tuple[Ids, Ids],
        rows: Ids,
        scores: npt.NDArray[np.float32],
    ) -> None:
        place = np.cumsum(unsure) - 1
        some = unsure[banned[0]]
        wanted = queries[torch.from_numpy(unsure)]
        found = topk(wanted, self.keys, self.k, excluded=(place[banned[0][some]], banned[1][some]))
        rows[unsure], scores[unsure] = self._rescored(wanted, found.rows)

    def _rescored(self, queries: Tensor, rows: Ids) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Give found rows (b, k) the scores that all others have, to the last bit."""
        there = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(there.sum(1))])
        keys = np.sort(np.where(there, rows, np.iinfo(np.int64).max), axis=1)
        candidates = Candidates(
            torch.from_numpy(keys[keys < len(self.keys)]), torch.from_numpy(offsets), np.zeros(len(rows), bool)
        )
        return _best(queries, self.keys, candidates, self.k)


def products(queries: Tensor, keys: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """Return the inner products (e,) of query i with keys `rows[offsets[i]:offsets[i + 1]]`, in float32."""
    if queries.device.type != "cpu":
        return _gathered(queries, keys, rows, offsets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that sparse tensors are a new thing
        cells = torch.sparse_csr_tensor(
            offsets, rows, torch.zeros(len(rows)), (len(queries), len(keys)), check_invariants=False
        )
        found: Tensor = torch.sparse.sampled_addmm(cells, queries, keys.T, beta=0).values()
        return found


def _gathered(queries: Tensor, keys: Tensor, rows: Tensor, offsets: Tensor, part: int = 2**16) -> Tensor:
    """The same on a GPU, with `part` keys gathered at a time; on a CPU that takes three times as long."""
    query = torch.repeat_interleave(torch.arange(len(queries)), offsets.diff())
    pieces = zip(torch.split(query.to(queries.device), part), torch.split(rows.to(queries.device), part))
    return torch.cat([(queries[q] * keys[r]).sum(1).cpu() for q, r in pieces])


def _best(queries: Tensor, keys: Tensor, found: Candidates, k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Return the k best candidates (b, k) of each query, best first, of equal scores the lower row."""
    count = found.offsets.diff()
    there = torch.arange(max(int(count.max()), k)) < count[:, None]  # (b, width)
    order = torch.full(there.shape, torch.iinfo(torch.int64).min)
    order[there] = sort_keys(products(queries, keys, found.keys, found.offsets), found.keys)
    best = torch.from_numpy(np.sort(order.numpy(), axis=1)[:, : -k - 1 : -1].copy())  # in vector registers, so all
    rows, scores = sorted_rows(best), sorted_scores(best)
    empty = torch.arange(k) >= count[:, None]
    return rows.masked_fill_(empty, -1).numpy(), scores.masked_fill_(empty, -torch.inf).numpy()


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool in which each thread computes alone: blocks side by side, not one block shared."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(max(1, before // count))) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
