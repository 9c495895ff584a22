"""Hard negatives: for each query the nearest keys that are not known positives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.mining.controls import Controls, NegativeSelection
from nearfar.mining.copies import DISTANCE, CopyFinder
from nearfar.mining.nearest import NearestKeys, NearestSearch, products
from nearfar.vectors.geometry import check_vectors

Scores = npt.NDArray[np.float32]
Rescore = Callable[[Ids, Ids], Scores]  # query rows (e,) and key rows (e,) to scores (e,)
PairRows = tuple[Ids, Ids]  # query rows (e,) and key rows (e,)


COPIES = "copies"  # their name in `HardNegatives.removed`
SPARE = 4  # keys searched for beyond those that are needed, as some may be copies
ROUNDS = 4  # of searching again for queries with more copies than that


@dataclass(frozen=True)
class HardNegatives:
    """The hard negatives of n queries.

    rows, scores: (n, negatives) rows of keys and their scores, the hardest first; -1 and -inf where there are fewer.
    lowest_positive, lowest_positive_score: (n,) the row of each query's lowest-scoring known positive, and its score;
    -1 and inf without one. removed: how many candidates each bound of the controls rejected, and how many were copies.
    """

    rows: Ids
    scores: Scores
    lowest_positive: Ids
    lowest_positive_score: Scores
    removed: dict[str, int]


def hard_negatives(
    queries: npt.NDArray[np.float32],
    keys: npt.NDArray[np.float32],
    positives: PairRows,
    controls: Controls | None = None,
    *,
    ignored: PairRows | None = None,
    rescore: Rescore | None = None,
    copy_distance: float = DISTANCE,
    device: torch.device | str | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> HardNegatives:
    """Return the hard negatives of each query (n, d) among the keys (m, d): the nearest that are no known positives.

    The result is exact: the same as from all n x m products in float32, in the memory of a few blocks. A key with the
    vector of a positive, or of the query, is a copy: no negative either, and it holds no rank.

    Args:
        queries, keys: float32 vectors; with unit length, scores are cosines.
        positives: all known positive pairs, in any order. None becomes a negative, and margins are measured from the
            query's lowest-scoring one.
        controls: which of the nearest keys become negatives.
        ignored: pairs that are neither positives nor negatives.
        rescore: scores pairs in place of the products, for example with a cross-encoder: its scores order the nearest
            keys up to `range_max`, and all controls apply to them.
        copy_distance: the distance of two vectors, over their length, up to which one is a copy of the other; below 0
            there are no copies.
        device: where products are computed; by default a GPU if there is one.
        advance: is called with (queries done, all queries) after each block.

    Errors: `InputError`: vectors of different widths or not finite, pairs beyond the rows, no keys.

    Example:
        >>> vectors = np.eye(3, dtype=np.float32)
        >>> hard_negatives(vectors[:1], vectors, (np.array([0]), np.array([0]))).rows
        array([[1]])

    When not to use it: with data in which many positives are not labelled (one answer of many is): the nearest keys are
    then mostly answers. Set `relative_margin`, `range_min` or `max_score`, and look at the page of `nearfar mine
    --review`.
    """
    controls = controls or Controls()
    ignored = ignored or (positives[0][:0], positives[0][:0])
    _check(queries, keys, positives, ignored)
    positives = _distinct(positives, len(keys))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k = _tensor(queries, "queries", device), _tensor(keys, "keys", device)
    excluded = tuple(np.concatenate([np.asarray(a), np.asarray(b)]) for a, b in zip(positives, ignored))
    depth = controls.depth(rescored=rescore is not None)
    search = NearestSearch(q, k, depth + SPARE, (excluded[0], excluded[1]))
    scores = _products_of(q, k, positives)
    distinct = DistinctKeys(search, CopyFinder(q, k, positives, scores, copy_distance), depth)
    judged = scores if rescore is None else _checked(rescore(*positives), len(scores))
    lowest, lowest_score = _lowest(judged, positives, len(queries))
    selection = NegativeSelection(controls, lowest_score)
    for block in distinct:
        selection.add(block if rescore is None else _rescored(block, rescore))
        if advance is not None:
            advance(block.start + len(block.rows), len(queries))
    removed = {**selection.removed, **({COPIES: distinct.copies} if distinct.copies else {})}
    return HardNegatives(selection.rows, selection.scores, lowest, lowest_score, removed)


def _check(
    queries: npt.NDArray[np.float32], keys: npt.NDArray[np.float32], positives: PairRows, ignored: PairRows
) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(f"queries (n, d) and keys (m, d) must share d, they are {queries.shape} and {keys.shape}")
    if len(keys) == 0:
        raise InputError("keys: there are none, so nothing to choose negatives from; give a corpus")
    for name, pairs in (("positives", positives), ("ignored", ignored)):
        shapes = [np.shape(rows) for rows in pairs]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise InputError(f"{name} must be two vectors of one length, they are {' and '.join(map(str, shapes))}")
        for side, rows, size in zip(("query", "key"), pairs, (len(queries), len(keys))):
            if len(rows) and not 0 <= int(np.min(rows)) <= int(np.max(rows)) < size:
                raise InputError(f"{name}: {side} rows must lie in 0..{size - 1}, they reach {int(np.max(rows))}")


def _distinct(pairs: PairRows, m: int) -> PairRows:
    """Return each pair once, ordered by query, then key."""
    cells = np.unique(np.asarray(pairs[0], np.int64) * m + pairs[1])
    return cells // m, cells % m


def _tensor(x: npt.NDArray[np.float32], name: str, device: torch.device | str) -> Tensor:
    # torch warns about arrays that it must not write to, such as mapped files
    return check_vectors(torch.from_numpy(np.require(x, np.float32, ["C", "W"])), name, least=0).to(device)


def _products_of(queries: Tensor, keys: Tensor, pairs: PairRows) -> Scores:
    """Return the products (e,) of pairs, ordered by query."""
    offsets = np.searchsorted(pairs[0], np.arange(len(queries) + 1))
    scores: Scores = products(queries, keys, torch.from_numpy(pairs[1]), torch.from_numpy(offsets)).numpy()
    return scores


def _checked(scores: Scores, n: int) -> Scores:
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise InputError(
            f"mining: the scorer returned {scores.shape} scores for {n} pairs, or scores that are not finite"
        )
    return scores


def _lowest(scores: Scores, positives: PairRows, n: int) -> tuple[Ids, Scores]:
    """Return the key row (n,) and the score (n,) of each query's lowest-scoring positive."""
    order = np.lexsort((-scores, positives[0]))  # a query's lowest comes last, and overwrites the others
    lowest, lowest_score = np.full(n, -1, np.int64), np.full(n, np.inf, np.float32)
    lowest[positives[0][order]], lowest_score[positives[0][order]] = positives[1][order], scores[order]
    return lowest, lowest_score


class DistinctKeys:
    """The blocks of a search, `depth` keys of each query, without copies; `copies` counts those that were left out."""

    def __init__(self, search: NearestSearch, find: CopyFinder, depth: int) -> None:
        self.search, self.find, self.depth, self.copies = search, find, min(depth, len(search.keys)), 0

    def __iter__(self) -> Iterator[NearestKeys]:
        """Yield the blocks in order."""
        for block in self.search:
            copies = self.find(block)
            rows, scores = self._without(block.rows, block.scores, copies)
            short = np.flatnonzero(copies.any(1) & (rows[:, -1] < 0))
            if len(short):
                rows[short], scores[short] = self._again(short + block.start, copies[short], block.rows[short])
            yield NearestKeys(block.start, rows, scores)

    def _without(self, rows: Ids, scores: Scores, copies: npt.NDArray[np.bool_]) -> tuple[Ids, Scores]:
        """Return the first `depth` rows and scores (b, depth) that are no copies."""
        self.copies += int(copies.sum())
        if copies.any():
            rows, scores = np.where(copies, -1, rows), np.where(copies, np.float32(-np.inf), scores)
            order = np.argsort(rows < 0, axis=1, kind="stable")
            rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return rows[:, : self.depth], scores[:, : self.depth]

    def _again(self, query: Ids, copies: npt.NDArray[np.bool_], rows: Ids) -> tuple[Ids, Scores]:
        """Return rows and scores (b, depth) of some queries (b,), searched for without the copies found so far."""
        owner, column = np.nonzero(copies)
        found = [(owner, rows[owner, column])]
        for _ in range(ROUNDS):
            place, key = (np.concatenate(part) for part in zip(*found))
            rows, scores = self.search.again(query, (place, key))
            copies = self.find.of_rows(query, rows, scores)
            owner, column = np.nonzero(copies)
            found.append((owner, rows[owner, column]))
            kept, kept_scores = self._without(rows, scores, copies)
            if not (copies.any(1) & (kept[:, -1] < 0)).any():
                break
        return kept, kept_scores


def _rescored(block: NearestKeys, rescore: Rescore) -> NearestKeys:
    """Return a block with the scores of `rescore`, in their order; equal ones keep the model's order."""
    exists = block.rows >= 0
    scores = np.full(block.rows.shape, -np.inf, np.float32)
    scores[exists] = _checked(rescore(block.start + np.nonzero(exists)[0], block.rows[exists]), int(exists.sum()))
    order = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(block.rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return NearestKeys(block.start, rows, scores)
