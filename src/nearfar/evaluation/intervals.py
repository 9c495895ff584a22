"""Intervals by resampling whole clusters, so that queries that depend on each other do not count as many."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

from nearfar.column import Ids
from nearfar.contracts import Values

CONFIDENCE = 0.95
_CELLS = 2_000_000  # numbers held at a time, resamples x clusters
Interval = dict[str, float]  # "low" and "high"
Name = TypeVar("Name", bound=Hashable)


def mean_intervals(values: Mapping[Name, Values], clusters: Ids, *, resamples: int, seed: int) -> dict[Name, Interval]:
    """Return the 95 % interval of the mean of each of some values (n,), all from the same resamples of clusters (n,).

    With clusters of unequal size the mean of a resample is a ratio, sum of cluster sums / sum of cluster sizes (Davison
    & Hinkley 1997, "Bootstrap methods and their application", section 3.8). For a difference of two systems give the
    differences: they stay paired. A single cluster says nothing about spread: NaN.
    """
    place = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(place).astype(np.float64)  # (c,)
    sums = [np.bincount(place, value) for value in values.values()]  # (c,) each

    def means(chosen: Ids, axis: int) -> Values:
        numbers: Values = sizes[chosen].sum(axis)  # (resamples,)
        return np.stack([total[chosen].sum(axis) for total in sums]) / numbers  # (values, resamples)

    low, high = _interval(len(sizes), len(sizes), means, resamples, seed, len(sums))
    return _named(list(values), low, high)


def correlation_intervals(
    systems: Mapping[str, Values], grades: Values, clusters: Ids, *, resamples: int, seed: int
) -> dict[str, dict[str, Interval]]:
    """Return intervals of Spearman's and Pearson's correlation of cosines (n,) with grades (n,), for each system.

    Beyond the first system, "first - NAME" holds the intervals of the paired difference to it. A resample's ranks are
    those within the resample, ties at their mean. NaN: a single cluster, or a resample in which all cosines or all
    grades are equal, as happens with a handful of pairs or a space that has collapsed.
    """
    place = np.unique(clusters, return_inverse=True)[1]
    size = int(place.max()) + 1

    def correlations(chosen: Ids, axis: int) -> Values:  # noqa: ARG001  scipy gives it by name; it is the last
        batch = chosen.reshape(-1, size)  # (b, c)
        offset = batch + size * np.arange(len(batch))[:, None]
        often = np.bincount(offset.ravel(), minlength=batch.size).reshape(batch.shape)  # (b, c): a cluster's copies
        weight = often[:, place].astype(np.float64)  # (b, n)
        found = []
        for cosines in systems.values():
            ranks = weighted_ranks(cosines, weight), weighted_ranks(grades, weight)
            found += [weighted_correlation(*ranks, weight), weighted_correlation(cosines, grades, weight)]
        own = np.stack(found)  # (2 x systems, b)
        both = np.concatenate([own, np.tile(own[:2], (len(systems) - 1, 1)) - own[2:]])
        return both.reshape(len(both), *chosen.shape[:-1])

    names = [*systems, *(f"first - {name}" for name in list(systems)[1:])]
    low, high = _interval(size, len(grades), correlations, resamples, seed, 2 * len(names))
    halves = [slice(2 * i, 2 * i + 2) for i in range(len(names))]
    return {name: _named(["spearman", "pearson"], low[half], high[half]) for name, half in zip(names, halves)}


def weighted_ranks(values: Values, weight: Values) -> Values:
    """Return the rank (b, n) that values (n,) have where each occurs weight (b, n) times; ties share their mean."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    mass = np.add.reduceat(weight[:, order], starts, axis=1)  # (b, distinct)
    ranks: Values = (np.cumsum(mass, 1) - mass / 2)[:, place]
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


def _interval(
    clusters: int, width: int, statistic: Callable[[Ids, int], Values], resamples: int, seed: int, outputs: int
) -> tuple[Values, Values]:
    if clusters < 2:
        return np.full(outputs, np.nan), np.full(outputs, np.nan)
    with warnings.catch_warnings():  # a resample without spread has no correlation; then the interval is NaN
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result: Any = bootstrap(
            (np.arange(clusters),),
            statistic,
            n_resamples=resamples,
            batch=max(1, _CELLS // width),
            vectorized=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method="percentile",  # BCa is undefined where most differences are zero, as those of recall@1 are
            random_state=np.random.default_rng(seed),  # the name that scipy 1.13 knows too
        )
    return result.confidence_interval.low, result.confidence_interval.high


def _named(names: Sequence[Name], low: Values, high: Values) -> dict[Name, Interval]:
    return {name: {"low": float(a), "high": float(b)} for name, a, b in zip(names, low, high)}
