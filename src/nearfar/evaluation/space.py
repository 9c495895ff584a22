"""The geometry of an embedding space, from its vectors: a sample for metrics, cosines of positive and random pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Ids
from nearfar.contracts import Sample
from nearfar.vectors.embed import Vectors

MOST = 5_000  # vectors, and positive pairs, that the metrics are computed on
_MOST_COSINES = 20_000  # of each kind in the histogram
_BINS = 40


def draw_sample(left: Vectors, right: Vectors, pairs: tuple[Ids, Ids], seed: int) -> Sample:
    """Return at most 5,000 vectors and at most 5,000 positive pairs of two sides (n, d) and (m, d).

    Half of the vectors are of each side where both have enough; where the two are the very same array, its vectors
    count once. pairs: rows (e,) of the left and (e,) of the right.
    Zero vectors (empty documents), and pairs with one, are left out.
    """
    generator = np.random.default_rng(seed)
    a, b = np.flatnonzero(_nonzero(left)), np.flatnonzero(_nonzero(right))
    b = b[:0] if right is left else b
    size = min(len(a), max(MOST // 2, MOST - len(b)))  # of the left side
    vectors = np.concatenate([left[_subset(a, size, generator)], right[_subset(b, MOST - size, generator)]])
    x, y = (np.asarray(ids) for ids in pairs)
    usable = np.flatnonzero(_nonzero(left)[x] & _nonzero(right)[y])
    chosen = _subset(usable, MOST, generator)
    return Sample(*(torch.from_numpy(part) for part in (vectors, left[x[chosen]], right[y[chosen]])))


def histogram(left: Vectors, right: Vectors, pairs: tuple[Ids, Ids], seed: int) -> dict[str, list[Any]]:
    """Return counts of the cosines of positive pairs and of random pairs of the two sides, in 40 bins from -1 to 1.

    At most 20,000 pairs of each kind; a random pair that is a positive one is dropped, and so is a row with itself,
    where the two sides are the very same array.
    """
    generator = np.random.default_rng(seed)
    x, y = (np.asarray(ids, np.int64) for ids in pairs)
    positive = _subset(np.arange(len(x)), _MOST_COSINES, generator)
    size = min(_MOST_COSINES, len(left) * len(right))
    i, j = generator.integers(0, len(left), size), generator.integers(0, len(right), size)
    random = ~np.isin(i * len(right) + j, x * len(right) + y) & ((i != j) | (right is not left))
    edges = np.linspace(-1, 1, _BINS + 1)
    counts = {
        "positive": np.histogram(_cosines(left, right, x[positive], y[positive]), edges)[0].tolist(),
        "random": np.histogram(_cosines(left, right, i[random], j[random]), edges)[0].tolist(),
    }
    return {"edges": np.round(edges, 6).tolist(), **counts}


def _cosines(left: Vectors, right: Vectors, i: Ids, j: Ids) -> Vectors:
    kept = _nonzero(left)[i] & _nonzero(right)[j]  # a zero vector has no cosine
    cosines: Vectors = np.einsum("nd,nd->n", left[i[kept]], right[j[kept]]).clip(-1, 1)  # rounding may exceed 1
    return cosines


def _nonzero(vectors: Vectors) -> npt.NDArray[np.bool_]:
    nonzero: npt.NDArray[np.bool_] = np.linalg.norm(vectors, axis=1) > 0
    return nonzero


def _subset(ids: Ids, most: int, generator: np.random.Generator) -> Ids:
    return ids if len(ids) <= most else np.sort(generator.choice(ids, most, replace=False))
