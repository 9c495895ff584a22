"""How much of who is near whom a map keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nearfar.column import Ids
from nearfar.vectors.projection import Blocks, Values, blocks
from nearfar.vectors.topk import TopK

NEIGHBOURS = 10  # of each vector that are compared in space and on the map
SAMPLE = 2000  # vectors whose neighbours are looked at, at most
_SAME = 1e-6  # cosines that differ by less are equal in float32


@dataclass(frozen=True)
class NeighboursKept:
    """The mean share of the nearest vectors that are among the nearest on the map, and what chance would give.

    neighbours: how many of each are compared. sample: how many vectors were looked at, among all.
    """

    share: float
    chance: float
    neighbours: int
    sample: int


def neighbours_kept(
    vectors: Values | Blocks, places: Values, *, most: int = NEIGHBOURS, sample: int = SAMPLE, seed: int = 0
) -> NeighboursKept:
    """Return which share of a vector's `most` nearest ones, by cosine, are among its nearest on the map.

    A sample is compared exactly with all n vectors (n, d). Fewer than `most` others are all counted. Who is as near as
    the last of the nearest, to 1e-6, counts as one of them: copies of a text may stand for each other. 1 is a map that
    keeps them all; chance is most / (n - 1).

    Args:
        vectors: an array, or a callable that gives its blocks, twice. Zero vectors are as near to all.
        places: (n, 2), n at least 2.

    Source: Lee and Verleysen 2009, "Quality assessment of dimensionality reduction: rank-based criteria", Q_NX.
    """
    n, given = len(places), blocks(vectors)
    k = min(most, n - 1)
    rows: Ids = np.arange(n)
    if n > sample:
        rows = np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))
    shown = _nearest_places(places, rows, k)
    wanted = np.unique(np.concatenate([rows, shown.ravel()]))
    units = _rows(given, wanted)
    own = units[np.searchsorted(wanted, rows)]
    best = TopK(own, k)
    for block in given():
        best.add(_unit(block), excluded=(np.arange(len(rows)), rows))
    least = best.ranking().scores[:, -1]
    cosines = np.einsum("nd,nkd->nk", own, units[np.searchsorted(wanted, shown)])  # (n, k)
    return NeighboursKept(float((cosines >= least[:, None] - _SAME).mean()), k / (n - 1), k, len(rows))


def _nearest_places(places: Values, rows: Ids, k: int) -> Ids:
    """Return the k places nearest to each of some rows, without the row itself, (r, k)."""
    found = np.atleast_2d(cKDTree(places).query(places[rows], k + 1)[1])
    own = found == rows[:, None]
    own[~own.any(1), -1] = True  # it lies on so many others that it was not found
    nearest: Ids = found[~own].reshape(len(rows), k)
    return nearest


def _rows(given: Blocks, wanted: Ids) -> Values:
    """Return the unit vectors of some rows, ascending."""
    found, first = list[Values](), 0
    for block in given():
        low, high = np.searchsorted(wanted, (first, first + len(block)))
        found.append(_unit(block[wanted[low:high] - first]))
        first += len(block)
    return np.concatenate(found)


def _unit(vectors: Values) -> Values:
    norms = np.linalg.norm(np.asarray(vectors, np.float64), axis=1, keepdims=True)
    unit: Values = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return unit
