"""`benchmarks/_interpolation.py`: the weight is the best one, and the mixture the mean of probabilities."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from nearfar.errors import InputError

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "_interpolation.py"


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("_interpolation", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = loaded()
chosen_weight, interpolated = MODULE.chosen_weight, MODULE.interpolated


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.1, 1.0, 200.0]), st.sampled_from([0.0, 1.0]))
def test_the_weight_is_the_best_one(seed: int, spread: float, apart: float) -> None:
    generator = np.random.default_rng(seed)
    first, second = -generator.gamma(2, spread, (2, 400)) - 1
    second = second - apart
    found = chosen_weight(first, second)
    best = minimize_scalar(
        lambda weight: -interpolated(first, second, weight).sum(),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert -interpolated(first, second, found).sum() <= best.fun + 1e-7 * abs(best.fun)
    for weight in (0.0, 1.0):
        assert interpolated(first, second, found).sum() >= interpolated(first, second, weight).sum() - 1e-9


def test_a_model_that_is_never_better_gets_no_weight() -> None:
    better = np.log(np.full(10, 0.5))
    assert chosen_weight(better, better - 1) == 1.0
    assert chosen_weight(better - 1, better) == 0.0


def test_it_is_the_mean_of_probabilities() -> None:
    first, second = np.log([0.5, 0.1]), np.log([0.1, 0.3])
    np.testing.assert_allclose(np.exp(interpolated(first, second, 0.25)), [0.2, 0.25])
    np.testing.assert_array_equal(interpolated(first, second, 0.0), second)
    assert chosen_weight(np.log([0.5, 0.1]), np.log([0.1, 0.5])) == pytest.approx(0.5)


def test_what_cannot_be_mixed_is_named() -> None:
    fine = np.log([0.5, 0.5])
    with pytest.raises(InputError, match="same tokens"):
        chosen_weight(fine, fine[:1])
    with pytest.raises(InputError, match="no token"):
        chosen_weight(fine[:0], fine[:0])
    with pytest.raises(InputError, match="the second model gives token 1 the log-probability -inf"):
        chosen_weight(fine, np.array([-1, -math.inf]))
    with pytest.raises(InputError, match="the weight must be 0 to 1"):
        interpolated(fine, fine, 1.5)
