"""Exact search for the k nearest keys of every query, without excluded pairs: block by block, on all cores."""

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

from nearfar.column import Ids, ranges
from nearfar.compute.hardware import cpu_bf16
from nearfar.mining.screen import Candidates, Screen
from nearfar.vectors.topk import sort_keys, sorted_rows, sorted_scores, topk

QUERY_BLOCK = 512  # queries of a block, on a CPU one block a thread
GPU_QUERY_BLOCK = 4096
NO_PAIRS: tuple[Ids, Ids] = (np.empty(0, np.int64), np.empty(0, np.int64))
MIN_SCREENED_KEYS = 4096  # with fewer keys, products of all of them in float32 are faster than a screen


@dataclass(frozen=True)
class NearestKeys:
    """The nearest keys (b, k) of the queries from `start` on, best first; where there are fewer, row -1, score -inf."""

    start: int
    rows: Ids
    scores: npt.NDArray[np.float32]


class NearestSearch:
    """Finds the k nearest of keys (m, d) for queries (n, d), float32 tensors, without excluded (query, key) rows.

    Scores are exact: float32 products of float32 vectors, the same for equal vectors in any row.
    """

    def __init__(self, queries: Tensor, keys: Tensor, k: int, excluded: tuple[Ids, Ids]) -> None:
        self.queries, self.keys, self.k = queries, keys, min(k, len(keys))
        order = np.lexsort((excluded[1], excluded[0]))
        self.excluded = excluded[0][order], excluded[1][order]
        screen = None
        if keys.device.type == "cpu" and len(keys) >= MIN_SCREENED_KEYS:
            screen = Screen(keys, torch.bfloat16 if cpu_bf16() else torch.float32)
        self._screen = screen if screen is not None and screen.fits(self.k) else None
        self._block_size = QUERY_BLOCK if keys.device.type == "cpu" else GPU_QUERY_BLOCK

    def __iter__(self) -> Iterator[NearestKeys]:
        """Yield the blocks of queries in order, while threads compute the next ones."""
        starts = range(0, len(self.queries), self._block_size)
        threads = torch.get_num_threads() if self._screen is not None else 1
        pending: deque[Future[NearestKeys]] = deque()
        with _thread_pool(threads) as pool:
            for start in starts:
                pending.append(pool.submit(self._block, start))
                if len(pending) > 2 * threads:  # so that the results of a few blocks at most are in memory
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    @torch.inference_mode()
    def again(self, queries: Ids, further: tuple[Ids, Ids] = NO_PAIRS) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Return rows and scores (b, k) for some queries (b,), from products of all keys in float32.

        further: more excluded pairs, of places among `queries` and keys.
        """
        first = np.searchsorted(self.excluded[0], queries)
        count = np.searchsorted(self.excluded[0], queries, side="right") - first
        place = np.concatenate([np.repeat(np.arange(len(queries)), count), further[0]])
        key = np.concatenate([self.excluded[1][ranges(first, count)], further[1]])
        order = np.lexsort((key, place))
        some = self.queries[torch.from_numpy(queries)]
        nearest = topk(some, self.keys, self.k, excluded=(place[order], key[order]))
        return self._exact_scores(some, nearest.rows)

    @torch.inference_mode()
    def _block(self, start: int) -> NearestKeys:
        queries = self.queries[start : start + self._block_size]
        first, last = np.searchsorted(self.excluded[0], (start, start + len(queries)))
        excluded = self.excluded[0][first:last] - start, self.excluded[1][first:last]
        if self._screen is None:
            nearest = topk(queries, self.keys, self.k, excluded=excluded)
            return NearestKeys(start, *self._exact_scores(queries, nearest.rows))
        by_key = np.argsort(excluded[1], kind="stable")
        candidates = self._screen.candidates(queries, self.k, (excluded[0][by_key], excluded[1][by_key]))
        rows, scores = _best(queries, self.keys, candidates, self.k)
        unresolved = np.flatnonzero(candidates.unresolved)
        if len(unresolved):
            rows[unresolved], scores[unresolved] = self.again(start + unresolved)
        return NearestKeys(start, rows, scores)

    def _exact_scores(self, queries: Tensor, rows: Ids) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Return rows (b, k) and their scores, equal to the last bit to those of screened candidates."""
        exists = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(exists.sum(1))])
        keys = np.sort(np.where(exists, rows, np.iinfo(np.int64).max), axis=1)
        candidates = Candidates(
            torch.from_numpy(keys[keys < len(self.keys)]), torch.from_numpy(offsets), np.zeros(len(rows), bool)
        )
        return _best(queries, self.keys, candidates, self.k)


def products(queries: Tensor, keys: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """Return the inner products (e,) of query i with keys `rows[offsets[i]:offsets[i + 1]]`, in float32."""
    if queries.device.type != "cpu":
        return _gathered_products(queries, keys, rows, offsets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that sparse tensors are in beta state
        cells = torch.sparse_csr_tensor(
            offsets, rows, torch.zeros(len(rows)), (len(queries), len(keys)), check_invariants=False
        )
        values: Tensor = torch.sparse.sampled_addmm(cells, queries, keys.T, beta=0).values()
        return values


def _gathered_products(queries: Tensor, keys: Tensor, rows: Tensor, offsets: Tensor, size: int = 2**16) -> Tensor:
    """Return the same on a GPU, gathering `size` keys at a time; on a CPU that takes three times as long."""
    query = torch.repeat_interleave(torch.arange(len(queries)), offsets.diff())
    parts = zip(torch.split(query.to(queries.device), size), torch.split(rows.to(queries.device), size))
    return torch.cat([(queries[q] * keys[r]).sum(1).cpu() for q, r in parts])


def _best(queries: Tensor, keys: Tensor, candidates: Candidates, k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Return rows and scores (b, k) of each query's k best candidates, best first; of equal scores the lower row."""
    count = candidates.offsets.diff()
    exists = torch.arange(max(int(count.max()), k)) < count[:, None]  # (b, width)
    order = torch.full(exists.shape, torch.iinfo(torch.int64).min)
    order[exists] = sort_keys(products(queries, keys, candidates.keys, candidates.offsets), candidates.keys)
    # numpy sorts in vector registers, so sorting all is faster than a selection
    best = torch.from_numpy(np.sort(order.numpy(), axis=1)[:, : -k - 1 : -1].copy())
    rows, scores = sorted_rows(best), sorted_scores(best)
    empty = torch.arange(k) >= count[:, None]
    return rows.masked_fill_(empty, -1).numpy(), scores.masked_fill_(empty, -torch.inf).numpy()


@contextmanager
def _thread_pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads share torch's threads among them, so that blocks run in parallel."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(max(1, before // count))) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
