"""A map of an embedding space: held-out vectors on the two axes along which they vary most."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.column import Column, Ids
from nearfar.contracts import Predictions, Values
from nearfar.evaluation.predictions import positive_pairs
from nearfar.evaluation.worst import shown_texts
from nearfar.tasks import Labels, Retrieval, Task, columns_of
from nearfar.vectors.embed import Vectors

MOST = 300  # points
_LONGEST = 80  # characters of a point's text


def principal_axes(vectors: Values) -> tuple[Values, Values]:
    """Return n points (n, 2) on the first two principal axes of vectors (n, d), and each axis's share of the variance.

    Principal component analysis of the given rows. The sign of an axis is chosen so that the point farthest from the
    middle lies on its positive side, so that the same vectors give the same map. A single row has the shares 0.

    Source: Pearson 1901, "On lines and planes of closest fit to systems of points in space".
    """
    centred = vectors - vectors.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    shares = np.zeros(2)
    total = float((singular**2).sum())
    if total <= 1e-12 * len(vectors):  # all vectors are one point, up to rounding
        return points, shares
    axes = min(2, len(singular))
    points[:, :axes] = left[:, :axes] * singular[:axes]
    shares[:axes] = singular[:axes] ** 2 / total
    farthest = np.abs(points).argmax(0)
    signs = np.sign(points[farthest, [0, 1]])
    return points * np.where(signs == 0, 1.0, signs), shares


def projection_map(task: Task, predictions: Predictions, seed: int) -> dict[str, Any]:
    """Return the map of a sample of held-out vectors: at most 300 points, in two groups or by class.

    {"dim", "shares" (2), "of", "groups": names, "x", "y", "group", "text": of each point, "pairs": of point numbers}.
    Retrieval: queries and documents, with relevant pairs joined; pairs: first and second, joined where they are
    positive; Labels: the cells by class. Zero vectors (empty documents) are left out; {} for fewer than three points.

    When not to use it: to measure. Two of d axes hold a part of the variance, and points that lie apart in space may
    lie on each other here.
    """
    left_name, right_name, *_ = predictions.vectors
    columns = columns_of(task)
    generator = np.random.default_rng(seed)
    if isinstance(task, Labels):
        rows = _drawn(_usable(predictions.vectors[left_name]), MOST, generator)
        return _map(predictions.vectors[left_name][rows], task.labels[rows], list(task.classes),
                    shown_texts(columns[left_name], rows.tolist(), _LONGEST), [], len(task.cells))  # fmt: skip
    left, right = predictions.vectors[left_name], predictions.vectors[right_name]
    i, j = _few_positives(task, left, right, seed, generator)
    a, b = _with(i, _usable(left), generator), _with(j, _usable(right), generator)
    pairs = np.stack([np.searchsorted(a, i), len(a) + np.searchsorted(b, j)], 1).tolist()
    groups = ["queries", "documents"] if isinstance(task, Retrieval) else ["first of a pair", "second of a pair"]
    texts = _texts(columns[left_name], a) + _texts(columns[right_name], b)
    group = np.repeat([0, 1], [len(a), len(b)])
    return _map(np.concatenate([left[a], right[b]]), group, groups, texts, pairs, len(left) + len(right))


def _map(
    vectors: Vectors, group: Ids, groups: list[str], texts: list[str], pairs: list[list[int]], of: int
) -> dict[str, Any]:
    if len(vectors) < 3:
        return {}
    points, shares = principal_axes(vectors.astype(np.float64))
    x, y = np.round(points, 4).T.tolist()
    return {
        "dim": vectors.shape[1],
        "of": of,
        "shares": np.round(shares, 4).tolist(),
        "groups": groups,
        "x": x,
        "y": y,
        "group": group.tolist(),
        "text": texts,
        "pairs": pairs,
    }


def _few_positives(
    task: Task, left: Vectors, right: Vectors, seed: int, generator: np.random.Generator
) -> tuple[Ids, Ids]:
    """Return a few positive pairs, one for a row of the left side, none with a zero vector."""
    i, j = positive_pairs(task, best=True, seed=seed)
    usable = np.flatnonzero(np.isin(i, _usable(left)) & np.isin(j, _usable(right)))
    _, first = np.unique(i[usable], return_index=True)
    chosen = usable[_drawn(first, MOST // 4, generator)]
    return i[chosen], j[chosen]


def _with(chosen: Ids, usable: Ids, generator: np.random.Generator) -> Ids:
    """Return the chosen rows and others drawn from the usable ones, half of a map in all, in order."""
    own = np.unique(chosen)
    rest = np.setdiff1d(usable, own)
    return np.union1d(own, _drawn(rest, MOST // 2 - len(own), generator))


def _usable(vectors: Vectors) -> Ids:
    return np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0)


def _drawn(rows: Ids, most: int, generator: np.random.Generator) -> Ids:
    return rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))


def _texts(column: Column, rows: Ids) -> list[str]:
    return shown_texts(column, rows.tolist(), _LONGEST)
