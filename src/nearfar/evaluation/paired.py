"""Two systems on one task, judged in different runs: their differences row by row, with intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nearfar.column import Ids
from nearfar.contracts import Values
from nearfar.evaluation.intervals import StatisticSample, mean_intervals, sampled_intervals
from nearfar.evaluation.row_values import RowValues

Gap = dict[str, float]  # "value", "low" and "high"
FIRST, OTHER, GAP = "first", "other", "gap"  # beside the metric, in the keys of intervals


@dataclass(frozen=True)
class RowDifferences:
    """The differences of two systems by one metric, row by row.

    values (n,): of each row, NaN where one of the two has none. order: the rows with a difference, the highest first;
    of equal ones in their order. better, worse, equal: how many there are of each.
    """

    values: Values
    order: Ids
    better: int
    worse: int
    equal: int


def paired_differences(first: RowValues, other: RowValues) -> dict[str, Gap]:
    """Return `other` minus `first` by metric, with 95 % intervals, as a report has them of a model and its baselines.

    All metrics that both have a value of each row for, or what a statistic comes to in the same resamples; others are
    left out. Both are of the same task: the intervals are drawn over the clusters of `first`, by its seed.
    """
    drawn = {"resamples": first.resamples, "seed": first.seed}
    both = {FIRST: first, OTHER: other}
    names = [name for name in other.values if name in first.values]
    rows = {(system, name): of.values[name] for system, of in both.items() for name in names}
    found = mean_intervals(rows, _pairs(names), first.clusters, **drawn) if rows else {}
    gaps = {name: float((other.values[name] - first.values[name]).mean()) for name in names}
    alike = (first.resamples, first.seed) == (other.resamples, other.seed)
    names = [name for name, one in other.samples.items() if alike and _are_paired(first.samples.get(name), one)]
    samples = {(system, name): of.samples[name] for system, of in both.items() for name in names}
    found |= sampled_intervals(samples, _pairs(names), first.clusters, **drawn) if samples else {}
    gaps |= {name: other.samples[name].whole - first.samples[name].whole for name in names}
    return {name: {"value": value, **found[GAP, name]} for name, value in gaps.items()}


def _pairs(names: Iterable[str]) -> dict[tuple[str, str], tuple[tuple[str, str], tuple[str, str]]]:
    return {(GAP, name): ((OTHER, name), (FIRST, name)) for name in names}


def row_differences(first: RowValues, other: RowValues, metric: str) -> RowDifferences:
    """Return `other` minus `first` by a metric of which both have a value of each row."""
    values = other.values[metric] - first.values[metric]
    order = np.argsort(-values, kind="stable")  # NaN last
    known = values[order[np.isfinite(values[order])]]
    counts = [int((known > 0).sum()), int((known < 0).sum()), int((known == 0).sum())]
    return RowDifferences(values, order[: len(known)], *counts)


def _are_paired(one: StatisticSample | None, other: StatisticSample) -> bool:
    return (
        one is not None
        and one.resampled.shape == other.resampled.shape
        and one.without.shape == other.without.shape
        and len(one.resampled) > 0
        and len(one.without) > 0
    )
