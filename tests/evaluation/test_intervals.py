"""Intervals: they cover the truth, count what was not seen, keep differences paired, and repeat with the seed."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta, pearsonr, spearmanr

from nearfar.evaluation import intervals
from nearfar.evaluation.intervals import effective_clusters, mean_intervals, statistic_intervals, unsayable
from nearfar.metrics.answers.scores import auroc
from nearfar.metrics.correlation import (
    ranked_correlation,
    straight_correlation,
    weighted_correlation,
    weighted_ranks,
)

Array = np.ndarray


def clustered(generator: np.random.Generator, clusters: int) -> tuple[Array, Array]:
    """Values of mean zero whose clusters, of one to six, share most of what they are."""
    cluster = np.repeat(np.arange(clusters), generator.integers(1, 7, clusters))
    return generator.standard_normal(clusters)[cluster] + 0.3 * generator.standard_normal(len(cluster)), cluster


def of_mean(values: Array, clusters: Array | None = None, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    clusters = np.arange(len(values)) if clusters is None else clusters
    found = mean_intervals({"x": values}, {}, clusters, resamples=resamples, seed=seed)["x"]
    return found["low"], found["high"]


def of_difference(one: Array, other: Array, seed: int = 0) -> tuple[float, float]:
    both = {"one": one, "other": other}
    found = mean_intervals(both, {"gap": ("one", "other")}, np.arange(len(one)), resamples=2000, seed=seed)["gap"]
    return found["low"], found["high"]


def test_they_cover_the_truth_about_as_often_as_they_say() -> None:
    covered: list[bool] = []
    naively: list[bool] = []
    for seed in range(150):
        values, cluster = clustered(np.random.default_rng(seed), 60)
        for hits, clusters in ((covered, cluster), (naively, np.arange(len(values)))):
            low, high = of_mean(values, clusters, resamples=300, seed=seed)
            hits.append(low <= 0 <= high)
    assert 0.91 <= np.mean(covered) <= 0.995
    assert np.mean(naively) < np.mean(covered) - 0.1  # what ignoring the clusters would cost


@pytest.mark.parametrize("c", [15, 30, 100])
@pytest.mark.parametrize(
    "draw",
    [
        lambda random, shape: random.random(shape) ** 2,  # skewed, and no ceiling
        lambda random, shape: np.where(random.random(shape) < 0.95, 1, random.random(shape)),  # near a ceiling
        lambda random, shape: np.where(random.random(shape) < 0.9, 0, random.choice([-1, 0.5], shape)),  # few differ
    ],
    ids=["skewed", "ceiling", "differences"],
)
def test_they_cover_from_15_clusters_on(c: int, draw: Callable[[np.random.Generator, tuple[int, int]], Array]) -> None:
    random = np.random.default_rng(c)
    truth = draw(random, (1, 1_000_000)).mean()
    values = {f"x{i}": row for i, row in enumerate(draw(random, (500, c)))}
    gaps = {f"gap{i}": (f"x{i}", "zero") for i in range(500)}
    found = mean_intervals({**values, "zero": np.zeros(c)}, gaps, np.arange(c), resamples=300, seed=0)
    kind = "gap" if truth < 0 else "x"
    hits = [found[f"{kind}{i}"]["low"] <= truth <= found[f"{kind}{i}"]["high"] for i in range(500)]
    assert np.mean(hits) >= 0.925


@pytest.mark.parametrize("c", [15, 30, 300])
def test_all_clusters_of_one_value_leave_room_for_what_was_not_seen(c: int) -> None:
    """The bound of Clopper and Pearson, close to the rule of three; the width is never zero."""
    least = 0.025 ** (1 / c)
    room = 1 - least
    assert least == pytest.approx(beta.ppf(0.025, c, 1))
    assert of_mean(np.ones(c), resamples=20_000) == pytest.approx((least, 1), abs=0.15 * room)
    assert of_mean(np.zeros(c), resamples=20_000) == pytest.approx((0, room), abs=0.15 * room)
    half = of_mean(np.full(c, 0.5), resamples=20_000)
    assert half == pytest.approx((0.5 * least, 1 - 0.5 * least), abs=0.08 * room)
    one = np.random.default_rng(0).random(c)
    assert of_difference(one, one) == pytest.approx((-room, room), rel=0.25)


def test_a_statistic_at_its_ceiling_leaves_room_too() -> None:
    positive = np.arange(40) % 2 == 0
    perfect = positive + 0.1 * np.random.default_rng(0).random(40)
    area = {name: lambda weight: auroc(positive, perfect, weight) for name in ("a", "b")}
    found = statistic_intervals(area, {"gap": ("a", "b")}, np.arange(40), resamples=2000, seed=0)
    least = 0.025 ** (1 / 40)
    assert found["a"] == {"low": pytest.approx(least, abs=0.03), "high": 1}
    assert found["gap"] == {"low": pytest.approx(least - 1, abs=0.03), "high": pytest.approx(1 - least, abs=0.03)}


def test_hits_and_misses_have_about_the_bounds_of_clopper_and_pearson() -> None:
    for hits in (27, 20, 10):
        low, high = of_mean((np.arange(30) < hits).astype(float), resamples=20_000)
        assert low == pytest.approx(beta.ppf(0.025, hits, 31 - hits), abs=0.025)
        assert high == pytest.approx(beta.ppf(0.975, hits + 1, 30 - hits), abs=0.025)


def test_where_values_vary_the_seen_range_is_enough() -> None:
    """Differences of about 0.01 in a hundred queries: their range, [-1, 1], would widen it fivefold."""
    gaps = 0.01 * np.random.default_rng(0).standard_normal(100)
    low, high = of_difference(0.5 + gaps, np.full(100, 0.5))
    plain = 2 * 1.96 * gaps.std() / 10
    assert 1.0 * plain < high - low < 1.3 * plain


@pytest.mark.parametrize("seed", range(5))
def test_the_value_lies_inside_and_the_bounds_within_the_range(seed: int) -> None:
    random = np.random.default_rng(seed)
    cluster = random.integers(0, 20 + 10 * seed, 200)
    hits = (random.random(200) < 0.97).astype(float)
    for values in (random.random(200), hits, random.random(200) ** 9, random.random(200) * 2 - 1):
        low, high = of_mean(values, cluster, resamples=200)
        assert min(0.0, np.sign(np.min(values))) <= low < np.mean(values) < high <= 1


def test_the_order_of_rows_and_the_names_and_copies_of_clusters_change_nothing() -> None:
    random = np.random.default_rng(0)
    cluster, values = random.integers(0, 30, 100), random.random(100)
    found, order = of_mean(values, cluster), random.permutation(100)
    assert of_mean(values[order], cluster[order]) == pytest.approx(found)
    assert of_mean(values, 7 * cluster - 100) == pytest.approx(found)
    assert of_mean(np.tile(values, 3), np.tile(cluster, 3)) == pytest.approx(found)  # each row thrice in its cluster
    renamed = of_mean(values, 29 - cluster)  # other resamples: up to the noise of 2,000
    assert renamed == pytest.approx(found, abs=0.02)


def test_a_difference_the_other_way_round_has_the_mirrored_interval() -> None:
    random = np.random.default_rng(0)
    one, other = random.random(40), random.random(40) ** 2
    low, high = of_difference(one, other)
    assert of_difference(other, one) == pytest.approx((-high, -low))
    few = np.where(np.arange(40) < 3, one, other)  # three clusters differ
    low, high = of_difference(few, other)
    assert of_difference(other, few) == pytest.approx((-high, -low))


def test_the_mean_of_a_resample_is_over_its_values_not_its_clusters() -> None:
    """Half of the clusters have three rows of 0, the others one of 1: the mean is 1/4, of clusters it would be 1/2."""
    cluster = np.repeat(np.arange(40), [3, 1] * 20)
    low, high = of_mean((cluster % 2).astype(float), cluster)
    assert 0.13 < low < 0.25 < high < 0.42


def test_values_are_resampled_alike_so_that_differences_stay_paired() -> None:
    values = np.random.default_rng(0).random(50)
    found = mean_intervals(
        {"a": 0.5 * values, "b": 0.5 * values + 0.25},
        {"gap": ("b", "a")},
        np.arange(50),
        resamples=200,
        seed=3,
    )
    assert found["b"]["low"] - found["a"]["low"] == pytest.approx(0.25, abs=0.02)
    assert found["gap"]["high"] - found["gap"]["low"] < 0.3  # only what was not seen


def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    values, cluster = clustered(np.random.default_rng(0), 40)
    first = of_mean(values, cluster, 300, seed=1)
    assert first == of_mean(values, cluster, 300, seed=1)
    assert first != of_mean(values, cluster, 300, seed=2)
    monkeypatch.setattr(intervals, "_CELLS", 100)  # a few resamples at a time
    assert of_mean(values, cluster, 300, seed=1) == pytest.approx(first)


def test_below_15_clusters_nothing_is_said() -> None:
    for clusters, said in ((14, False), (15, True)):
        values = np.random.default_rng(0).random(clusters)
        assert np.isfinite(of_mean(values)).all() == said
        ranked = {"a": ranked_correlation(values, values**2 + 0.1 * values[::-1])}
        found = statistic_intervals(ranked, {}, np.arange(clusters), resamples=50, seed=0)["a"]
        assert np.isfinite(list(found.values())).all() == said
    assert unsayable(np.arange(14)) == "fewer than 15 independent clusters (14)"
    assert unsayable(np.arange(15)) is None


def test_one_cluster_with_nearly_all_rows_is_not_made_up_for_by_small_ones() -> None:
    dominated = np.append(np.zeros(500, int), np.arange(1, 30))
    assert effective_clusters(dominated) == pytest.approx(529**2 / (500**2 + 29))
    assert unsayable(dominated) == "a few clusters hold nearly all rows (30 count as 1.1)"
    assert np.isnan(of_mean(np.random.default_rng(0).random(529), dominated)).all()


def test_without_a_known_range_a_constant_says_nothing() -> None:
    assert np.isnan(of_mean(np.full(30, 7.0))).all()
    varied = 7 + np.random.default_rng(0).random(30)
    low, high = of_mean(varied)
    assert 7 < low < varied.mean() < high < 8
    assert np.isnan(of_mean(np.append(varied, np.nan))).all()


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


def test_means_as_statistics_differ_as_means_do(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    one, other = random.random(60), random.random(60)
    means = {
        "one": lambda weight: weight @ one / weight.sum(1),
        "other": lambda weight: weight @ other / weight.sum(1),
    }
    gap = {"gap": ("one", "other")}
    found = statistic_intervals(means, gap, np.arange(60), resamples=2000, seed=0)
    low, high = of_difference(one, other)
    assert (found["gap"]["low"], found["gap"]["high"]) == pytest.approx((low, high))
    low, high = of_mean(one)
    assert 0 < found["one"]["low"] <= low + 1e-9 < high - 1e-9 <= found["one"]["high"] < 1  # at the end of its range
    monkeypatch.setattr(intervals, "_LEFT_OUT", 40)  # of more clusters, some are left out in turn
    fewer = statistic_intervals(means, gap, np.arange(60), resamples=2000, seed=0)["gap"]
    assert fewer == pytest.approx(found["gap"], abs=0.01)


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
    assert -0.06 < bounds["none"]["low"] < 0 < bounds["none"]["high"] < 0.06
