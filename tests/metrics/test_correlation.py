"""Correlations against hand-written ones, and inputs without a correlation."""

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.contracts import Predictions, Statistic, Values
from nearfar.errors import InputError
from nearfar.metrics.correlation import Correlation
from nearfar.tasks import Similarity as Task


def task_of(scores: list[float]) -> Task:
    column = ListColumn("text", ["t"] * len(scores))
    return Task("t", column, column, np.array(scores, np.float64), np.arange(len(scores)))


def measured(task: Task, cosines: Values) -> dict[str, float]:
    found = Correlation()(task, Predictions(scores=cosines))
    return {name: value.value for name, value in found.items() if isinstance(value, Statistic)}


def test_spearman_measures_the_order_and_pearson_a_linear_relation() -> None:
    values = measured(task_of([1, 2, 3, 4]), np.array([0.0, 0.1, 0.2, 0.9]))
    assert values["spearman"] == pytest.approx(1)
    x, y = np.arange(4) - 1.5, np.array([0.0, 0.1, 0.2, 0.9]) - 0.3
    assert values["pearson"] == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_ties_share_their_rank() -> None:
    values = measured(task_of([1, 1, 2]), np.array([0.1, 0.2, 0.2]))
    x, y = np.array([1.5, 1.5, 3]) - 2, np.array([1, 2.5, 2.5]) - 2
    assert values["spearman"] == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_a_collapsed_space_has_no_correlation() -> None:
    assert all(np.isnan(value) for value in measured(task_of([1, 2]), np.array([0.5, 0.5])).values())


def test_inputs_that_do_not_fit_are_errors() -> None:
    with pytest.raises(InputError, match=r"2 pairs need as many cosines, they are \(3,\)"):
        measured(task_of([1, 2]), np.zeros(3))
    with pytest.raises(InputError, match="the cosine of pair 1 is not finite"):
        measured(task_of([1, 2]), np.array([0.1, np.nan]))
    with pytest.raises(InputError, match="all 2 grades are equal"):
        measured(task_of([2, 2]), np.array([0.1, 0.2]))


def test_copies_of_pairs_are_pairs() -> None:
    generator = np.random.default_rng(0)
    grades, cosines = generator.integers(0, 5, 40).astype(np.float64), generator.integers(0, 9, 40).astype(np.float64)
    weight = generator.integers(0, 4, (3, 40)).astype(np.float64)
    found = Correlation()(task_of(grades.tolist()), Predictions(scores=cosines))
    for name, value in found.items():
        assert isinstance(value, Statistic)
        for row, resampled in enumerate(value.resampled(weight)):
            copies = np.repeat(np.arange(40), weight[row].astype(int))
            assert resampled == pytest.approx(measured(task_of(grades[copies].tolist()), cosines[copies])[name])
