"""Correlations against hand-written ones, and inputs without a correlation."""

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.metrics.correlation import Correlation
from nearfar.tasks import Similarity as Task


def task_of(scores: list[float]) -> Task:
    column = ListColumn("text", ["t"] * len(scores))
    return Task("t", column, column, np.array(scores, np.float64), np.arange(len(scores)))


def test_spearman_measures_the_order_and_pearson_a_linear_relation() -> None:
    values = Correlation()(task_of([1, 2, 3, 4]), np.array([0.0, 0.1, 0.2, 0.9]))
    assert float(values["spearman"]) == pytest.approx(1)
    x, y = np.arange(4) - 1.5, np.array([0.0, 0.1, 0.2, 0.9]) - 0.3
    assert float(values["pearson"]) == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_ties_share_their_rank() -> None:
    values = Correlation()(task_of([1, 1, 2]), np.array([0.1, 0.2, 0.2]))
    x, y = np.array([1.5, 1.5, 3]) - 2, np.array([1, 2.5, 2.5]) - 2
    assert float(values["spearman"]) == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_a_collapsed_space_has_no_correlation() -> None:
    assert all(np.isnan(value) for value in Correlation()(task_of([1, 2]), np.array([0.5, 0.5])).values())


def test_inputs_that_do_not_fit_are_errors() -> None:
    with pytest.raises(InputError, match=r"2 pairs need as many cosines, they are \(3,\)"):
        Correlation()(task_of([1, 2]), np.zeros(3))
    with pytest.raises(InputError, match="the cosine of pair 1 is not finite"):
        Correlation()(task_of([1, 2]), np.array([0.1, np.nan]))
    with pytest.raises(InputError, match="all 2 grades are equal"):
        Correlation()(task_of([2, 2]), np.array([0.1, 0.2]))
