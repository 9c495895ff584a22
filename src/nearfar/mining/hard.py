"""Hard negatives: for each query the keys that lie nearest to it and are not known to be near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.mining.controls import Choice, Controls
from nearfar.mining.nearest import NearestKeys, NearestSearch, products
from nearfar.vectors.geometry import check_vectors

Scores = npt.NDArray[np.float32]
Rescore = Callable[[Ids, Ids], Scores]  # query rows (e,) and key rows (e,) to scores (e,)
PairIds = tuple[Ids, Ids]  # query rows (e,) and key rows (e,)


@dataclass(frozen=True)
class HardNegatives:
    """The negatives of n queries.

    rows: (n, negatives) rows of keys, the hardest first, -1 where there are fewer. scores: (n, negatives), -inf there.
    farthest, lowest: (n,) each query's known positive that scores least, and that score; -1 and inf without one.
    removed: how many candidates each control turned away.
    """

    rows: Ids
    scores: Scores
    farthest: Ids
    lowest: Scores
    removed: dict[str, int]


def hard_negatives(
    queries: npt.NDArray[np.float32],
    keys: npt.NDArray[np.float32],
    near: PairIds,
    controls: Controls | None = None,
    *,
    excluded: PairIds | None = None,
    rescore: Rescore | None = None,
    device: torch.device | str | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> HardNegatives:
    """Return the hard negatives of each query (n, d) among the keys (m, d): the nearest that are not known to be near.

    The result is exact: as if all n x m products were there in float32, though memory is that of a few blocks. Rows
    are contents: give a text that occurs twice once, or its copy will pass for a negative (`mine` sees to it).

    Args:
        queries, keys: float32 vectors; unit length makes scores cosines.
        near: all known (query row, key row) that are near, in any order; none is ever a negative, and margins are
            measured from the lowest-scoring one of the query.
        controls: which of the nearest are taken.
        excluded: (query row, key row) that are neither near nor far.
        rescore: a better judge of pairs; its scores order the `range_max` nearest keys, and all controls see them.
        device: where products are computed; by default a GPU if there is one.
        advance: is told (queries done, queries) after each block.

    Errors: `InputError`: vectors that do not fit or are not finite, ids beyond the rows, controls that leave nothing.

    Example:
        >>> vectors = np.eye(3, dtype=np.float32)
        >>> hard_negatives(vectors[:1], vectors, (np.array([0]), np.array([0]))).rows
        array([[1]])

    When not to use it: with data where near pairs are missing from `near` in numbers (one answer of many was marked):
    the nearest keys are then mostly answers. Set `relative_margin`, `range_min` or `max_score`, and look at
    `mining.report`.
    """
    controls = controls or Controls()
    excluded = excluded or (near[0][:0], near[0][:0])
    _check(queries, keys, near, excluded)
    near = _distinct(near, len(keys))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    ours, theirs = _tensor(queries, "queries", device), _tensor(keys, "keys", device)
    banned = tuple(np.concatenate([np.asarray(a), np.asarray(b)]) for a, b in zip(near, excluded))
    search = NearestSearch(ours, theirs, controls.depth(filtered=rescore is not None), (banned[0], banned[1]))
    farthest, lowest = _farthest(_near_scores(ours, theirs, near, rescore), near, len(queries))
    choice = Choice(controls, lowest)
    for block in search:
        choice.take(block if rescore is None else _rescored(block, rescore))
        if advance is not None:
            advance(block.start + len(block.rows), len(queries))
    return HardNegatives(choice.rows, choice.scores, farthest, lowest, choice.removed)


def _tensor(x: npt.NDArray[np.float32], name: str, device: torch.device | str) -> Tensor:
    # torch warns about arrays that it must not write to, such as mapped files
    return check_vectors(torch.from_numpy(np.require(x, np.float32, ["C", "W"])), name, least=0).to(device)


def _distinct(near: PairIds, m: int) -> PairIds:
    """Return each pair once, by query, then key."""
    pairs = np.unique(np.asarray(near[0], np.int64) * m + near[1])
    return pairs // m, pairs % m


def _check(queries: npt.NDArray[np.float32], keys: npt.NDArray[np.float32], near: PairIds, excluded: PairIds) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(f"queries (n, d) and keys (m, d) must share d, they are {queries.shape} and {keys.shape}")
    if len(keys) == 0:
        raise InputError("keys: there are none, so nothing to choose negatives from; give a corpus")
    for name, pairs in (("near", near), ("excluded", excluded)):
        shapes = [np.shape(ids) for ids in pairs]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise InputError(f"{name} must be two vectors of one length, they are {' and '.join(map(str, shapes))}")
        for side, ids, size in zip(("query", "key"), pairs, (len(queries), len(keys))):
            if len(ids) and not 0 <= int(np.min(ids)) <= int(np.max(ids)) < size:
                raise InputError(f"{name}: {side} rows must lie in 0..{size - 1}, they reach {int(np.max(ids))}")


def _near_scores(queries: Tensor, keys: Tensor, near: PairIds, rescore: Rescore | None) -> Scores:
    if rescore is not None:
        return _checked(rescore(*near), len(near[0]))
    offsets = np.searchsorted(near[0], np.arange(len(queries) + 1))
    scores: Scores = products(queries, keys, torch.from_numpy(near[1]), torch.from_numpy(offsets)).numpy()
    return scores


def _checked(scores: Scores, n: int) -> Scores:
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise InputError(f"mining: the scorer gave {scores.shape} scores for {n} pairs, or some that are no numbers")
    return scores


def _farthest(scores: Scores, near: PairIds, n: int) -> tuple[Ids, Scores]:
    """Return each query's lowest-scoring positive and its score."""
    order = np.lexsort((-scores, near[0]))  # the last one written is the lowest
    farthest, lowest = np.full(n, -1, np.int64), np.full(n, np.inf, np.float32)
    farthest[near[0][order]], lowest[near[0][order]] = near[1][order], scores[order]
    return farthest, lowest


def _rescored(block: NearestKeys, rescore: Rescore) -> NearestKeys:
    """Return a block in the order of other scores; of equal ones the model's order stays."""
    there = block.rows >= 0
    scores = np.full(block.rows.shape, -np.inf, np.float32)
    scores[there] = _checked(rescore(block.start + np.nonzero(there)[0], block.rows[there]), int(there.sum()))
    order = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(block.rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return NearestKeys(block.start, rows, scores)
