"""A map of an embedding space: held-out vectors on the two axes along which they vary most."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, column_kind, take
from nearfar.contracts import Predictions
from nearfar.evaluation.predictions import positive_pairs
from nearfar.evaluation.worst import shown_texts
from nearfar.pictures.sprite import sprite
from nearfar.tasks import Labels, Retrieval, Task, between_kinds, columns_of
from nearfar.vectors.embed import Vectors
from nearfar.vectors.kept import neighbours_kept
from nearfar.vectors.projection import principal_axes

MOST = 300  # points
WHAT = "map"  # the file of its thumbnails begins so
_THUMBNAIL = 40  # pixels
_LONGEST = 80  # characters of a point's text


def projection_map(task: Task, predictions: Predictions, seed: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the map of a sample of held-out vectors, at most 300 points, in two groups or by class; and its pictures.

    {"dim", "shares" (2), "kept", "of", "groups": names, "x", "y", "group", "text": of each point, "pairs": of point
    numbers}. kept: see `neighbours_kept`. A sprite of the thumbnails of those points that are pictures goes along by
    its file's name, with "file", "tile", "columns" and "rows" in the map; where there are texts, too, "tiles" has the
    number of each point's, None of a text's.
    Retrieval: queries and documents, with relevant pairs joined; pairs: first and second, joined where they are
    positive; Labels: the cells by class. Zero vectors (empty documents) are left out; nothing for fewer than three
    points.

    When not to use it: to measure. Two of d axes hold a part of the variance, and points that lie apart in space may
    lie on each other here.
    """
    if not predictions.vectors:
        return {}, {}
    columns = columns_of(task)
    left_name, right_name, *_ = columns
    generator = np.random.default_rng(seed)
    if left_name not in predictions.vectors or (right_name not in predictions.vectors and not isinstance(task, Labels)):
        return {}, {}
    if isinstance(task, Labels):
        rows = _drawn(_usable(predictions.vectors[left_name]), MOST, generator)
        found = _map(predictions.vectors[left_name][rows], task.labels[rows], list(task.classes),
                     _texts(columns[left_name], rows), [], len(task.cells))  # fmt: skip
        return _with_thumbnails(found, [(columns[left_name], rows)])
    left, right = predictions.vectors[left_name], predictions.vectors[right_name]
    i, j = _few_positives(task, left, right, seed, generator)
    a, b = _with(i, _usable(left), generator), _with(j, _usable(right), generator)
    pairs = np.stack([np.searchsorted(a, i), len(a) + np.searchsorted(b, j)], 1).tolist()
    groups = ["queries", "documents"] if isinstance(task, Retrieval) else ["first of a pair", "second of a pair"]
    if between_kinds(task):
        groups = [f"{name} ({column_kind(columns[side])})" for name, side in zip(groups, (left_name, right_name))]
    texts = _texts(columns[left_name], a) + _texts(columns[right_name], b)
    group = np.repeat([0, 1], [len(a), len(b)])
    found = _map(np.concatenate([left[a], right[b]]), group, groups, texts, pairs, len(left) + len(right))
    return _with_thumbnails(found, [(columns[left_name], a), (columns[right_name], b)])


def _with_thumbnails(
    found: dict[str, Any], parts: Sequence[tuple[Column, Ids]]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a map, and the thumbnails of its points that are pictures; parts: the rows of columns, in order."""
    pictured = [(column, rows) for column, rows in parts if column_kind(column) == "image"]
    if not found or not pictured:
        return found, {}
    made = sprite([np.asarray(cell) for column, rows in pictured for cell in take(column, rows)], _THUMBNAIL)
    if made is None:
        return found, {}
    tiles: dict[str, Any] = {}
    if len(pictured) < len(parts):
        numbers = itertools.count()
        tiles["tiles"] = [
            next(numbers) if column_kind(column) == "image" else None for column, rows in parts for _ in rows
        ]
    return {**found, **made.layout(WHAT), **tiles}, {made.file(WHAT): made.data}


def _map(
    vectors: Vectors, group: Ids, groups: list[str], texts: list[str], pairs: list[list[int]], of: int
) -> dict[str, Any]:
    if len(vectors) < 3:
        return {}
    points, axes = principal_axes(vectors)
    x, y = np.round(points, 4).T.tolist()
    return {
        "dim": vectors.shape[1],
        "of": of,
        "shares": np.round(axes.shares, 4).tolist(),
        "kept": round(neighbours_kept(vectors, points).share, 4),
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
    i, j = positive_pairs(task, columns_of(task), best=True, seed=seed)
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
    """Return the texts of some rows; pictures have none."""
    return [""] * len(rows) if column_kind(column) == "image" else shown_texts(column, rows.tolist(), _LONGEST)
