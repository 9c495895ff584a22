"""Confidence intervals by a paired bootstrap of whole clusters that also counts what was not seen.

With few clusters, or nearly all of one value, resamples of the data alone give intervals that are too narrow: data
without a miss say [1, 1]. So a share of each resample's weight goes to one cluster more, which was not seen and is as
bad (for the lower bound) or as good (for the upper) as may be: as the most extreme one that was seen or, where clusters
that differ from the commonest value are rare, and for a statistic that is no mean, as the end of the metric's range.
With c clusters its share is drawn from Beta(1, c), as that of a cluster is in the Bayesian bootstrap (Rubin 1981).

This is the bound of Gaffke (2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable"; Learned-Miller & Thomas 2019, arXiv:1905.06208), with the ordinary bootstrap in place of the
Bayesian one and, but near a ceiling, the seen range in place of the possible one. Where all c clusters are hits it is
that of Clopper & Pearson (1934), 0.025^(1/c), close to the rule of three. That it holds for clusters of unequal size
and for statistics, where no theorem says so, is measured by `benchmarks/coverage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # contracts import torch, which the sentences that read LEAST_CLUSTERS can do without
    from nearfar.column import Ids
    from nearfar.contracts import Values

CONFIDENCE = 0.95
LEAST_CLUSTERS = 15  # with fewer nothing can be said
LEAST_EFFECTIVE = 10  # nor where their sizes are so unequal that they count as fewer than this
RARE = 10  # fewer clusters than this that differ from the commonest value do not show how far values reach
_CELLS = 2_000_000  # numbers held at a time: resamples x clusters, or resamples x pairs
_LEFT_OUT = 1_000  # clusters that are left out in turn, of a statistic
Interval = dict[str, float]  # "low" and "high"
Name = TypeVar("Name", bound=Hashable)
Range = tuple[float, float]


def mean_intervals(
    values: Mapping[Name, Values],
    differences: Mapping[Name, tuple[Name, Name]],
    clusters: Ids,
    *,
    resamples: int,
    seed: int,
) -> dict[Name, Interval]:
    """Return the 95 % intervals of the mean of each named array (n,), and of differences of two of them, paired.

    differences: by name the names of the two. clusters (n,). All come from the same resamples. With clusters of unequal
    size a mean is a ratio, sum of cluster sums / sum of cluster sizes (Davison & Hinkley 1997, "Bootstrap methods and
    their application", section 3.8), and how extreme a cluster is, is its effect on that ratio.

    Values that all lie in [0, 1], or else in [-1, 1], are taken to be bounded by it. NaN: clusters of which nothing can
    be said (`unsayable`); values without a known range, nearly all the same.
    """
    rows = {**values, **{name: values[one] - values[other] for name, (one, other) in differences.items()}}
    ends = _ends({name: _range(value) for name, value in values.items()}, differences)
    if unsayable(clusters):
        return {name: _nothing() for name in rows}
    of_row, sizes = _numbered(clusters)
    sums = np.stack([np.bincount(of_row, value) for value in rows.values()])  # (v, c)
    means = sums.sum(1) / sizes.sum()  # (v,)
    excess = sums - means[:, None] * sizes  # (v, c) no sums of cancelling terms: a constant has no spread at all
    batches = _copies(sizes, len(sizes), resamples, seed)
    resampled = np.concatenate([copies @ excess.T / (copies @ sizes)[:, None] for copies in batches])  # (b, v)
    share, found = _unseen(len(sizes), resamples, seed), {}
    for i, name in enumerate(rows):
        effects, mean = excess[i] / sizes.mean(), float(means[i])
        found[name] = _Sample(mean, mean + resampled[:, i], effects, _rare(sums[i] / sizes)).interval(share, ends[name])
    return found


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
    (`contracts.Statistic`). differences: by name the names of the two. clusters (n,). The range is taken from the
    values in the resamples, as that of a mean is from its rows. What was not seen lies at its end, as one pair may cost
    an average precision more than all pairs that were seen. Of a difference it is as extreme as the most extreme
    cluster, by what the difference is without it (the jackknife; Efron & Tibshirani 1993, "An introduction to the
    bootstrap", chapter 11); of very many clusters, some are left out in turn.

    NaN: as of means; also where the statistic is NaN in a resample or without a cluster, as a correlation is in a
    collapsed space, or AUROC with all its negatives in one cluster.
    """
    samples = statistic_samples(statistics, clusters, resamples=resamples, seed=seed)
    if not samples:
        return {name: _nothing() for name in (*statistics, *differences)}
    return sampled_intervals(samples, differences, clusters, resamples=resamples, seed=seed)


@dataclass(frozen=True)
class StatisticSample:
    """What a statistic comes to: on all rows, in each resample (b,), and without each of some clusters (m,), in turn.

    Samples of one seed over equal clusters are of the same resamples, so those of two systems are paired.
    """

    whole: float
    resampled: Values
    without: Values


def statistic_samples(
    statistics: Mapping[Name, Callable[[Values], Values]], clusters: Ids, *, resamples: int, seed: int
) -> dict[Name, StatisticSample]:
    """Return what statistics come to in resamples, as `statistic_intervals` takes them; {} of unsayable clusters."""
    if unsayable(clusters) or not statistics:
        return {}
    of_row, sizes = _numbered(clusters)
    c, n = len(sizes), len(of_row)

    def values(batches: Iterator[Values]) -> dict[Name, Values]:
        of_rows = (copies[:, of_row] for copies in batches)  # (b, n) each
        found = [[statistic(copies) for statistic in statistics.values()] for copies in of_rows]
        return dict(zip(statistics, map(np.concatenate, zip(*found))))

    whole = values(iter([np.ones((1, c))]))  # (1,) each
    without = values(_without(_left_out(c, seed), c, n))  # (m,)
    resampled = values(_copies(sizes, n, resamples, seed))  # (b,)
    return {name: StatisticSample(float(whole[name][0]), resampled[name], without[name]) for name in statistics}


def sampled_intervals(
    samples: Mapping[Name, StatisticSample],
    differences: Mapping[Name, tuple[Name, Name]],
    clusters: Ids,
    *,
    resamples: int,
    seed: int,
) -> dict[Name, Interval]:
    """Return the intervals of statistics whose samples are known; as `statistic_intervals`, which makes them.

    All samples are of these clusters, resamples and seed.
    """
    c = len(_numbered(clusters)[1])
    found = dict(samples)
    ends = _ends({name: _range(np.append(one.resampled, one.whole)) for name, one in samples.items()}, differences)
    for name, (one, other) in differences.items():
        left, right = samples[one], samples[other]
        found[name] = StatisticSample(
            left.whole - right.whole, left.resampled - right.resampled, left.without - right.without
        )
    share, intervals = _unseen(c, resamples, seed), {}
    for name, sample in found.items():
        effect = (c - 1) * (sample.whole - sample.without)  # (m,)
        rare = _rare(effect) * c / len(effect) if name in differences else 0
        intervals[name] = _Sample(sample.whole, sample.resampled, effect, rare).interval(share, ends[name])
    return intervals


def _left_out(c: int, seed: int) -> Ids:
    """Return the clusters that are left out in turn: all of them, or some of very many."""
    if c <= _LEFT_OUT:
        return np.arange(c)
    return np.sort(np.random.default_rng(seed).permutation(c)[:_LEFT_OUT])


def effective_clusters(clusters: Ids) -> float:
    """Return how many clusters of one size vary as these do: (sum of sizes)^2 / sum of squares (Kish 1965).

    Example:
        >>> effective_clusters(np.array([0, 0, 1, 1, 2, 2])), effective_clusters(np.array([0, 0, 0, 0, 0, 1]))
        (3.0, 1.3846153846153846)
    """
    sizes = _numbered(clusters)[1]
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def unsayable(clusters: Ids) -> str | None:
    """Return why nothing can be said of the spread between clusters (n,), in plain words; None where it can."""
    number, effective = len(np.unique(clusters)), effective_clusters(clusters)
    if number < LEAST_CLUSTERS:
        return f"fewer than {LEAST_CLUSTERS} independent clusters ({number})"
    if effective < LEAST_EFFECTIVE:
        return f"a few clusters hold nearly all rows ({number} count as {effective:.1f})"
    return None


@dataclass(frozen=True)
class _Sample:
    """What is known of one value: itself, its resamples (b,), the effects (m,) of clusters, and how many are unusual.

    An effect is what the value would change by if all clusters were like this one, to first order.
    """

    value: float
    resampled: Values
    effects: Values
    rare: float

    def interval(self, share: Values, ends: Range) -> Interval:
        """Return the interval. share (b,): the weight of what was not seen, in each resample; ends: of the range."""
        if not (np.isfinite(self.resampled).all() and np.isfinite(self.effects).all()):
            return _nothing()
        beyond = max(0.0, 1 - self.rare / RARE)
        if beyond and not np.isfinite(ends).all():
            return _nothing()
        tail, bounds = (1 - CONFIDENCE) / 2, []
        for end, seen, level in zip(ends, (self.effects.min(), self.effects.max()), (tail, 1 - tail)):
            extreme = float(np.clip(self.value + seen, *ends))
            extreme += beyond * (end - extreme) if beyond else 0.0
            bounds.append(float(np.quantile((1 - share) * self.resampled + share * extreme, level)))
        low, high = np.clip(bounds, *ends).tolist()  # rounding may lead beyond the range
        return {"low": min(low, self.value), "high": max(high, self.value)}


def _nothing() -> Interval:
    return {"low": float("nan"), "high": float("nan")}


def _numbered(clusters: Ids) -> tuple[Ids, Values]:
    """Return the number of each row's cluster (n,), and the sizes of the clusters (c,)."""
    of_row = np.unique(clusters, return_inverse=True)[1]
    return of_row, np.bincount(of_row).astype(np.float64)


def _range(values: Values) -> Range:
    """Return the range that a metric with these values has: [0, 1], [-1, 1], or none that is known."""
    low, high = float(np.min(values)), float(np.max(values))
    if high <= 1 and low >= -1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return -np.inf, np.inf


def _ends(ranges: Mapping[Name, Range], differences: Mapping[Name, tuple[Name, Name]]) -> dict[Name, Range]:
    """Return the ranges of values and of differences of two of them."""
    of_gaps = {
        name: (ranges[one][0] - ranges[other][1], ranges[one][1] - ranges[other][0])
        for name, (one, other) in differences.items()
    }
    return {**ranges, **of_gaps}


def _rare(values: Values) -> int:
    """Return how many of the values differ from the commonest one."""
    counts = np.unique(np.round(values, 9), return_counts=True)[1]
    return int(len(values) - counts.max())


def _copies(sizes: Values, width: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield the copies (b, c) of each cluster in resamples of as many. width: numbers held for each resample."""
    c, generator = len(sizes), np.random.default_rng(seed)
    step = max(1, _CELLS // max(width, c))
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        drawn = generator.integers(0, c, (b, c)) + c * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * c).reshape(b, c).astype(np.float64)


def _without(chosen: Ids, c: int, width: int) -> Iterator[Values]:
    """Yield the copies (b, c) of each cluster where one of the chosen is left out, in turn."""
    step = max(1, _CELLS // width)
    for start in range(0, len(chosen), step):
        rows = chosen[start : start + step]
        copies = np.ones((len(rows), c))
        copies[np.arange(len(rows)), rows] = 0
        yield copies


def _unseen(c: int, resamples: int, seed: int) -> Values:
    """Return the weight (b,) of what was not seen in each resample of c clusters: that of one cluster of c + 1."""
    return np.random.default_rng([seed, c]).beta(1, c, resamples)
