"""Confidence intervals by a bootstrap of whole clusters, as queries of one cluster are not independent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

from nearfar.column import Ids
from nearfar.contracts import Values

CONFIDENCE = 0.95
_CELLS = 2_000_000  # numbers held at a time: resamples x clusters, or resamples x pairs
Interval = dict[str, float]  # "low" and "high"
Name = TypeVar("Name", bound=Hashable)


def mean_intervals(values: Mapping[Name, Values], clusters: Ids, *, resamples: int, seed: int) -> dict[Name, Interval]:
    """Return the 95 % interval of the mean of each named array (n,), all from the same resamples of clusters (n,).

    With clusters of unequal size the mean of a resample is a ratio, sum of cluster sums / sum of cluster sizes (Davison
    & Hinkley 1997, "Bootstrap methods and their application", section 3.8). For the difference of two systems pass the
    differences, which keeps them paired. With a single cluster there is no spread to estimate: NaN.
    """
    cluster = np.unique(clusters, return_inverse=True)[1]  # (n,)
    sizes = np.bincount(cluster).astype(np.float64)  # (c,)
    sums = [np.bincount(cluster, value) for value in values.values()]  # (c,) each

    def means(chosen: Ids, axis: int) -> Values:
        counts: Values = sizes[chosen].sum(axis)  # (resamples,)
        return np.stack([total[chosen].sum(axis) for total in sums]) / counts  # (values, resamples)

    low, high = _bootstrap(len(sizes), len(sizes), means, resamples, seed, len(sums))
    return _by_name(list(values), low, high)


def statistic_intervals(
    statistics: Mapping[Name, Callable[[Values], Values]],
    differences: Mapping[Name, tuple[Name, Name]],
    clusters: Ids,
    *,
    resamples: int,
    seed: int,
) -> dict[Name, Interval]:
    """Return the intervals of statistics that are no means, and of differences of two of them, paired.

    statistics: by name the function from the copies (b, n) of each row in b resamples to the values (b,)
    (`contracts.Statistic`). differences: by name the names of the two. clusters (n,). NaN: a single cluster, or a
    resample in which the statistic is NaN, as a correlation is with a handful of pairs or a collapsed space.
    """
    cluster = np.unique(clusters, return_inverse=True)[1]  # (n,)
    size = int(cluster.max()) + 1  # clusters

    def resampled(chosen: Ids, axis: int) -> Values:  # noqa: ARG001  scipy passes it by name: the last axis
        batch = chosen.reshape(-1, size)  # (b, c)
        offset = batch + size * np.arange(len(batch))[:, None]
        copies = np.bincount(offset.ravel(), minlength=batch.size).reshape(batch.shape)  # (b, c), of each cluster
        weight = copies[:, cluster].astype(np.float64)  # (b, n)
        values = {name: statistic(weight) for name, statistic in statistics.items()}
        gaps = [values[one] - values[other] for one, other in differences.values()]
        stacked = np.stack([*values.values(), *gaps])  # (outputs, b)
        return stacked.reshape(len(stacked), *chosen.shape[:-1])

    names = [*statistics, *differences]
    low, high = _bootstrap(size, len(cluster), resampled, resamples, seed, len(names))
    return _by_name(names, low, high)


def _bootstrap(
    clusters: int, width: int, statistic: Callable[[Ids, int], Values], resamples: int, seed: int, outputs: int
) -> tuple[Values, Values]:
    """Return the lower and upper bounds (outputs,) of a statistic over resamples of clusters.

    width: numbers that the statistic holds for each resample; it sets how many resamples are drawn together.
    """
    if clusters < 2:
        return np.full(outputs, np.nan), np.full(outputs, np.nan)
    with warnings.catch_warnings():  # a resample without variance has no correlation; then the interval is NaN
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
            random_state=np.random.default_rng(seed),  # scipy 1.13 knows the argument by this name alone
        )
    return result.confidence_interval.low, result.confidence_interval.high


def _by_name(names: Sequence[Name], low: Values, high: Values) -> dict[Name, Interval]:
    return {name: {"low": float(a), "high": float(b)} for name, a, b in zip(names, low, high)}
