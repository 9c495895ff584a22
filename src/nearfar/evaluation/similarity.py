"""Evaluate models on a similarity task: the correlation of their cosines with people's grades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.evaluation import space
from nearfar.evaluation.intervals import correlation_intervals
from nearfar.evaluation.report import Report, about_intervals, about_model
from nearfar.metrics.correlation import Correlation
from nearfar.tasks import Similarity as Task
from nearfar.vectors.embed import Embedder, Vectors, embed_column


def evaluate_similarity(
    model: Embedder, task: Task, baselines: Mapping[str, Embedder | None], *, resamples: int, seed: int
) -> Report:
    """Return the report; baselines must be models, as BM25 gives no similarity of two texts."""
    vectors = {"model": _embed(model, task)}
    for name, peer in baselines.items():
        if peer is None:
            raise InputError(
                f"evaluate: {name} cannot score the pairs of {task.name}; give another model as the baseline"
            )
        vectors[name] = _embed(peer, task)
    cosines = {name: _cosines(*sides) for name, sides in vectors.items()}
    numbers = {name: _numbers(task, cosines[name], sides, seed) for name, sides in vectors.items()}
    intervals = correlation_intervals(cosines, task.scores, task.clusters, resamples=resamples, seed=seed)
    difference = {
        name: {
            metric: {"value": numbers["model"][metric] - numbers[name][metric], **intervals[f"first - {name}"][metric]}
            for metric in Correlation.meaning
        }
        for name in baselines
    }
    models = {"model": model, **{name: peer for name, peer in baselines.items() if peer is not None}}
    about = {name: about_model(each, vectors[name][0].shape[1]) for name, each in models.items()}
    return Report(
        task=task.name,
        metrics=numbers.pop("model"),
        intervals=intervals["model"],
        baseline=numbers,
        difference=difference,
        protocol={
            "kind": "similarity",
            "pairs": len(task.scores),
            "clusters": len(np.unique(task.clusters)),
            "interval": about_intervals(task.clusters, "pairs", resamples, seed),
            "model": about.pop("model"),
            "baselines": about,
            "null": "a correlation where all cosines are equal; its interval where they are in some resample",
            "positive pairs": "those graded in the top fifth of the scale, for alignment and the histogram",
            "metrics": Correlation.meaning | space.MEANING,
            "notes": task.notes,
        },
        histogram=space.histogram(*vectors["model"], _positive_pairs(task), seed),
    )


def _embed(model: Embedder, task: Task) -> tuple[Vectors, Vectors]:
    first, second = (embed_column(model, column, None, empty=False) for column in (task.first, task.second))
    return first, second  # (n, d) each


def _cosines(first: Vectors, second: Vectors) -> Values:
    cosines: Values = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    return cosines


def _numbers(task: Task, cosines: Values, sides: tuple[Vectors, Vectors], seed: int) -> dict[str, Any]:
    correlations = {name: float(value) for name, value in Correlation()(task, cosines).items()}
    return correlations | space.describe(space.draw_sample(*sides, _positive_pairs(task), seed))


def _positive_pairs(task: Task) -> tuple[Ids, Ids]:
    """Return pairs graded in the top fifth of the scale, such as above 4 of 5 (Gao et al. 2021, arXiv:2104.08821)."""
    low, high = task.scores.min(), task.scores.max()
    rows = np.flatnonzero(task.scores >= low + 0.8 * (high - low))
    return rows, rows
