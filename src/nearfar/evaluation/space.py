"""What a space looks like, from a sample of its vectors: geometry, and cosines of pairs that belong together or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Ids
from nearfar.contracts import Sample, SpaceMetric
from nearfar.metrics.alignment import Alignment
from nearfar.metrics.effective_rank import EffectiveRank
from nearfar.metrics.random_cosine import RandomCosine
from nearfar.metrics.uniformity import Uniformity
from nearfar.vectors.embed import Vectors

MOST = 5_000  # vectors, and positive pairs, that geometry is computed on
_MOST_COSINES = 20_000  # of each kind in the histogram
_BINS = 40
METRICS: tuple[SpaceMetric, ...] = (Alignment(), Uniformity(), EffectiveRank(), RandomCosine())
MEANING = {name: words for metric in METRICS for name, words in metric.meaning.items()}


def sample(left: Vectors, right: Vectors, pairs: tuple[Ids, Ids], seed: int) -> Sample:
    """Return at most 5,000 vectors of two sides (n, d) and (m, d), half of each where both have enough, and pairs.

    Zero vectors (empty documents) are left out of both, and so are pairs with one.
    """
    generator = np.random.default_rng(seed)
    a, b = np.flatnonzero(_full(left)), np.flatnonzero(_full(right))
    few = min(len(a), max(MOST // 2, MOST - len(b)))
    vectors = np.concatenate([left[_some(a, few, generator)], right[_some(b, MOST - few, generator)]])
    x, y = (np.asarray(ids) for ids in pairs)
    whole = np.flatnonzero(_full(left)[x] & _full(right)[y])
    chosen = _some(whole, MOST, generator)
    return Sample(*(torch.from_numpy(part) for part in (vectors, left[x[chosen]], right[y[chosen]])))


def describe(drawn: Sample) -> dict[str, float]:
    """Return alignment, uniformity, effective rank and mean random cosine; NaN where there is too little to tell."""
    found: dict[str, float] = {}
    for metric in METRICS:
        enough = len(drawn.queries) > 0 if isinstance(metric, Alignment) else len(drawn.vectors) > 1
        found |= metric(drawn) if enough else dict.fromkeys(metric.meaning, math.nan)
    return found


def histogram(left: Vectors, right: Vectors, pairs: tuple[Ids, Ids], seed: int) -> dict[str, list[Any]]:
    """Return counts of the cosines of positive pairs and of random pairs of the two sides, in 40 bins from -1 to 1.

    At most 20,000 pairs of each kind; a random pair that is a positive one is dropped.
    """
    generator = np.random.default_rng(seed)
    x, y = (np.asarray(ids, np.int64) for ids in pairs)
    positive = _some(np.arange(len(x)), _MOST_COSINES, generator)
    size = min(_MOST_COSINES, len(left) * len(right))
    i, j = generator.integers(0, len(left), size), generator.integers(0, len(right), size)
    far = ~np.isin(i * len(right) + j, x * len(right) + y)
    edges = np.linspace(-1, 1, _BINS + 1)
    counts = {
        "positive": np.histogram(_cosines(left, right, x[positive], y[positive]), edges)[0].tolist(),
        "random": np.histogram(_cosines(left, right, i[far], j[far]), edges)[0].tolist(),
    }
    return {"edges": np.round(edges, 6).tolist(), **counts}


def _cosines(left: Vectors, right: Vectors, i: Ids, j: Ids) -> Vectors:
    whole = _full(left)[i] & _full(right)[j]  # a zero vector has no cosine
    cosines: Vectors = np.einsum("nd,nd->n", left[i[whole]], right[j[whole]]).clip(-1, 1)  # rounding may pass 1
    return cosines


def _full(vectors: Vectors) -> npt.NDArray[np.bool_]:
    full: npt.NDArray[np.bool_] = np.linalg.norm(vectors, axis=1) > 0
    return full


def _some(ids: Ids, most: int, generator: np.random.Generator) -> Ids:
    return ids if len(ids) <= most else np.sort(generator.choice(ids, most, replace=False))
