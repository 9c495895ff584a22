"""Intervals: they cover the truth, resample whole clusters, keep differences paired, and repeat with the seed."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from nearfar.evaluation import intervals
from nearfar.evaluation.intervals import mean_intervals, statistic_intervals
from nearfar.metrics.correlation import (
    ranked_correlation,
    straight_correlation,
    weighted_correlation,
    weighted_ranks,
)


def clustered(generator: np.random.Generator, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean zero whose clusters, of one to six, share most of what they are."""
    cluster = np.repeat(np.arange(clusters), generator.integers(1, 7, clusters))
    return generator.standard_normal(clusters)[cluster] + 0.3 * generator.standard_normal(len(cluster)), cluster


def test_they_cover_the_truth_about_as_often_as_they_say() -> None:
    covered: list[bool] = []
    naively: list[bool] = []
    for seed in range(150):
        values, cluster = clustered(np.random.default_rng(seed), 60)
        for hits, clusters in ((covered, cluster), (naively, np.arange(len(values)))):
            interval = mean_intervals({"x": values}, clusters, resamples=300, seed=seed)["x"]
            hits.append(interval["low"] <= 0 <= interval["high"])
    assert 0.89 <= np.mean(covered) <= 0.99
    assert np.mean(naively) < np.mean(covered) - 0.1  # what ignoring the clusters would cost


def test_the_mean_of_a_resample_is_over_its_values_not_its_clusters() -> None:
    """Two clusters, of one and three: the resamples are (a, a), (a, b) and (b, b)."""
    values, cluster = np.array([4.0, 0, 0, 0]), np.array([7, 3, 3, 3])
    distribution = {4.0, 1.0, 0.0}
    interval = mean_intervals({"x": values}, cluster, resamples=500, seed=0)["x"]
    assert (interval["low"], interval["high"]) == (0.0, 4.0)
    assert {round(x, 6) for x in interval.values()} <= distribution


def test_values_are_resampled_alike_so_that_differences_stay_paired() -> None:
    values = np.random.default_rng(0).random(50)
    bounds = mean_intervals(
        {"a": values, "b": values + 0.25, "gap": (values + 0.25) - values}, np.arange(50), resamples=200, seed=3
    )
    assert bounds["gap"] == pytest.approx({"low": 0.25, "high": 0.25})
    assert bounds["b"]["low"] - bounds["a"]["low"] == pytest.approx(0.25)


def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    values, cluster = clustered(np.random.default_rng(0), 40)
    first = mean_intervals({"x": values}, cluster, resamples=300, seed=1)
    assert first == mean_intervals({"x": values}, cluster, resamples=300, seed=1)
    assert first != mean_intervals({"x": values}, cluster, resamples=300, seed=2)
    monkeypatch.setattr(intervals, "_CELLS", 100)  # a few resamples at a time
    assert mean_intervals({"x": values}, cluster, resamples=300, seed=1)["x"] == pytest.approx(first["x"])


def test_one_cluster_says_nothing_about_spread() -> None:
    one = np.zeros(5, np.int64)
    assert np.isnan(list(mean_intervals({"x": np.arange(5.0)}, one, resamples=10, seed=0)["x"].values())).all()
    ranked = {"a": ranked_correlation(np.arange(5.0), np.arange(5.0))}
    assert np.isnan(list(statistic_intervals(ranked, {}, one, resamples=10, seed=0)["a"].values())).all()


def test_weights_are_copies() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 9, 60).astype(float), generator.standard_normal(60)
    weight = generator.integers(0, 4, (5, 60)).astype(float)
    ranked = weighted_correlation(weighted_ranks(x, weight), weighted_ranks(y, weight), weight)
    straight = weighted_correlation(x, y, weight)
    for row in range(5):
        copies = np.repeat(np.arange(60), weight[row].astype(int))
        assert ranked[row] == pytest.approx(spearmanr(x[copies], y[copies]).statistic)
        assert straight[row] == pytest.approx(pearsonr(x[copies], y[copies]).statistic)


def test_correlations_cover_and_their_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    grades = generator.standard_normal(300)
    good, poor = grades + 0.5 * generator.standard_normal(300), grades + 2 * generator.standard_normal(300)
    cluster = np.arange(300) // 2
    systems = {"good": good, "poor": poor, "same": good}
    ranked = {name: ranked_correlation(values, grades) for name, values in systems.items()}
    straight = {f"{name} straight": straight_correlation(values, grades) for name, values in systems.items()}
    gaps = {"gap": ("good", "poor"), "none": ("good straight", "same straight")}
    bounds = statistic_intervals({**ranked, **straight}, gaps, cluster, resamples=300, seed=0)
    assert set(bounds) == {*ranked, *straight, *gaps}
    assert bounds["good"]["low"] < spearmanr(good, grades).statistic < bounds["good"]["high"]
    assert bounds["poor straight"]["low"] < pearsonr(poor, grades).statistic < bounds["poor straight"]["high"]
    assert bounds["gap"]["low"] > 0
    assert bounds["none"] == {"low": 0, "high": 0}
