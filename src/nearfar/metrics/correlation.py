"""Correlation of similarities with people's grades of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from scipy.stats import pearsonr, spearmanr

from nearfar import tasks
from nearfar.contracts import Measurement, Predictions, Statistic, Values
from nearfar.errors import InputError


class Correlation:
    """Spearman's and Pearson's correlation of cosines with people's grades, by scipy; -1 to 1, higher is better.

    Spearman's is the one to report (Reimers et al. 2016, "Task-oriented intrinsic evaluation of semantic textual
    similarity"): it measures the order only, Pearson's a linear relation.

    Call: a task of n pairs and their cosines (n,) -> two statistics, NaN where all cosines are equal (a collapsed
    space). In resamples, ranks are taken anew, ties at their mean.

    Errors: `InputError`: another number of cosines, cosines that are not finite (by row), grades that are all equal.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Similarity,)
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "spearman": "correlation of the ranks of cosine and grade, -1 to 1",
        "pearson": "correlation of cosine and grade, -1 to 1",
    }

    def __call__(self, task: tasks.Similarity, predictions: Predictions) -> dict[str, Measurement]:
        """Return the correlations by name."""
        cosines, grades = predictions.scores, task.scores
        if cosines is None or cosines.shape != grades.shape:
            shape = None if cosines is None else cosines.shape
            raise InputError(f"correlation: {len(grades)} pairs need as many cosines, they are {shape}")
        if not np.isfinite(cosines).all():
            raise InputError(f"correlation: the cosine of pair {int(np.argmin(np.isfinite(cosines)))} is not finite")
        if np.ptp(grades) == 0:
            raise InputError(f"correlation: all {len(grades)} grades are equal, so there is no order to match")
        if np.ptp(cosines) == 0:  # scipy would warn and return NaN
            values = (np.nan, np.nan)
        else:
            values = (float(spearmanr(cosines, grades).statistic), float(pearsonr(cosines, grades).statistic))
        return {
            "spearman": Statistic(values[0], ranked_correlation(cosines, grades)),
            "pearson": Statistic(values[1], straight_correlation(cosines, grades)),
        }


def ranked_correlation(x: Values, y: Values) -> Callable[[Values], Values]:
    """Return the function from weights (b, n) to Spearman's correlation (b,) of x (n,) and y (n,)."""
    return lambda weight: weighted_correlation(weighted_ranks(x, weight), weighted_ranks(y, weight), weight)


def straight_correlation(x: Values, y: Values) -> Callable[[Values], Values]:
    """Return the function from weights (b, n) to Pearson's correlation (b,) of x (n,) and y (n,)."""
    return lambda weight: weighted_correlation(x, y, weight)


def weighted_ranks(values: Values, weight: Values) -> Values:
    """Return the ranks (b, n) of values (n,) where each occurs weight (b, n) times; ties share their mean rank."""
    distinct, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(distinct)))
    mass = np.add.reduceat(weight[:, order], starts, axis=1)  # (b, distinct)
    ranks: Values = (np.cumsum(mass, 1) - mass / 2)[:, inverse]
    return ranks


def weighted_correlation(x: Values, y: Values, weight: Values) -> Values:
    """Return Pearson's correlation (b,) of x and y, (n,) or (b, n), under weights (b, n); NaN where one is constant."""
    total = weight.sum(1, keepdims=True)
    x = x - (weight * x).sum(1, keepdims=True) / total
    y = y - (weight * y).sum(1, keepdims=True) / total
    spread = np.sqrt((weight * x * x).sum(1) * (weight * y * y).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: Values = (weight * x * y).sum(1) / spread
    return correlation
