"""Pair classification against a naive reference, and scikit-learn where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.contracts import Predictions, Statistic
from nearfar.errors import InputError
from nearfar.metrics.pair_classification import PairClassification, thresholds
from nearfar.tasks import PairLabels
from tests.evaluation.models import same_or_not

Array = np.ndarray[Any, Any]


def task_of(same: Array, dev: Array | None = None) -> PairLabels:
    rows = [("a", "b", bool(each)) for each in same]
    return same_or_not(rows, None if dev is None else [("a", "b", bool(each)) for each in dev])


def measured(same: Array, scores: Array, dev: Array | None = None, dev_scores: Array | None = None) -> dict[str, float]:
    found = PairClassification()(task_of(same, dev), Predictions(scores=scores, dev_scores=dev_scores))
    return {name: float(v.value if isinstance(v, Statistic) else np.mean(v)) for name, v in found.items()}


def naive_ap(same: Array, scores: Array) -> float:
    order = sorted(range(len(same)), key=lambda row: (-scores[row], same[row]))
    hits, precisions = 0, []
    for place, row in enumerate(order, 1):
        if same[row]:
            hits += 1
            precisions.append(hits / place)
    return float(np.mean(precisions))


def flags(random: np.random.Generator, n: int) -> Array:
    found: Array = random.random(n) < 0.4
    found[:2] = True, False
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9999), st.integers(2, 30), st.sampled_from([3, 1000]))
def test_average_precision_is_the_references(seed: int, n: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    same, scores = flags(random, n), random.integers(0, levels, n) / levels
    assert measured(same, scores) == {"pair_ap": pytest.approx(naive_ap(same, scores))}


def test_ties_go_against_the_model() -> None:
    """In a collapsed space those that are not the same come first."""
    assert measured(np.array([True, False, False]), np.ones(3))["pair_ap"] == pytest.approx(1 / 3)
    assert measured(np.array([True, True, False]), np.ones(3))["pair_ap"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_average_precision_is_scikit_learns_under_weights_too() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    same, scores, weight = flags(random, 80), random.random(80), random.integers(0, 4, (3, 80)).astype(np.float64)
    found = PairClassification()(task_of(same), Predictions(scores=scores))["pair_ap"]
    assert isinstance(found, Statistic)
    assert found.value == pytest.approx(sklearn.average_precision_score(same, scores))
    for row, value in enumerate(found.resampled(weight)):
        expected = sklearn.average_precision_score(same, scores, sample_weight=weight[row])
        assert value == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9999), st.integers(2, 25), st.sampled_from([3, 1000]))
def test_thresholds_are_the_best_of_all(seed: int, n: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    same, scores = flags(random, n), random.integers(0, levels, n) / levels

    def f1(threshold: float) -> float:
        called = scores >= threshold
        return float(2 * (called & same).sum() / (called.sum() + same.sum()))

    def accuracy(threshold: float) -> float:
        return float(((scores >= threshold) == same).mean())

    by_f1, by_accuracy = thresholds(scores, same)
    every = [*np.unique(scores).tolist(), 2.0]
    assert f1(by_f1) == pytest.approx(max(map(f1, every)))
    assert accuracy(by_accuracy) == pytest.approx(max(map(accuracy, every)))
    assert by_f1 > max((t for t in every if f1(t) < f1(by_f1) - 1e-12 and t < by_f1), default=-1)


def test_the_threshold_is_that_of_the_dev_pairs() -> None:
    """The dev pairs say 0.5; the pairs themselves would say 0.15."""
    same, scores = np.array([True, True, False, False]), np.array([0.9, 0.2, 0.1, 0.05])
    dev, dev_scores = np.array([True, False]), np.array([0.6, 0.4])
    found = measured(same, scores, dev, dev_scores)
    assert found == {"pair_ap": 1, "pair_f1": pytest.approx(2 / 3), "pair_accuracy": 0.75}
    assert measured(same, scores, dev, np.array([0.3, 0.0])) == {"pair_ap": 1, "pair_f1": 1, "pair_accuracy": 1}


def test_f1_of_copies_is_that_of_more_pairs() -> None:
    random = np.random.default_rng(1)
    same, scores, copies = flags(random, 30), random.random(30), random.integers(1, 4, 30)
    dev, dev_scores = flags(random, 30), random.random(30)
    found = PairClassification()(task_of(same, dev), Predictions(scores=scores, dev_scores=dev_scores))["pair_f1"]
    assert isinstance(found, Statistic)
    more = measured(np.repeat(same, copies), np.repeat(scores, copies), dev, dev_scores)
    assert found.resampled(copies[None].astype(np.float64))[0] == pytest.approx(more["pair_f1"])


def test_similarities_that_do_not_fit_are_errors() -> None:
    task = task_of(np.array([True, False]), np.array([True, False]))
    with pytest.raises(InputError, match=r"2 pairs need as many similarities, they are \(3,\)"):
        PairClassification()(task, Predictions(scores=np.zeros(3)))
    with pytest.raises(InputError, match="the similarity of pair 1 is not finite"):
        PairClassification()(task, Predictions(scores=np.array([0, np.nan])))
    with pytest.raises(InputError, match="the similarity of dev pair 0 is not finite"):
        PairClassification()(task, Predictions(scores=np.zeros(2), dev_scores=np.array([np.inf, 0])))
