"""Scores that are the same wherever a vector lies, and one order of equal ones: shared by all backends.

A product of matrices (BLAS, a database's own) sums in an order that depends on the machine and on a row's place in a
block, so its last bits say nothing. A backend finds a few more candidates than k by it and scores these anew here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.index.rows import Nearest, Vectors

_AT_ONCE = 4096  # rows that are scored together


def exact_scores(query: Vectors, vectors: Vectors) -> npt.NDArray[np.float32]:
    """Return the inner products (m,) of a query (d,) with vectors (m, d), summed in float64 and rounded to float32."""
    scores = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _AT_ONCE):
        products = vectors[start : start + _AT_ONCE].astype(np.float64) * query  # (m, d)
        scores[start : start + _AT_ONCE] = products.sum(1)  # each row in the same order
    return scores


def best(ids: Sequence[str], scores: npt.NDArray[np.float32], k: int) -> Nearest:
    """Return the k best of candidates, highest score first, equal ones by id."""
    values = scores.tolist()
    order = sorted(range(len(ids)), key=lambda row: (-values[row], ids[row]))[:k]
    return Nearest([ids[row] for row in order], scores[order])
