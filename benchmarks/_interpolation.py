"""Two language models as one: the mean of their probabilities, with a weight that is chosen on validation documents."""

from __future__ import annotations

import math

import numpy as np

from nearfar.contracts import Values
from nearfar.errors import InputError

_HALVINGS = 50  # of the weight's interval


def chosen_weight(first: Values, second: Values) -> float:
    """Return the weight w of the first model for which w p + (1 - w) q makes validation tokens most likely.

    first, second (t,): natural log-probabilities of the same validation tokens, by both models. The likelihood is
    concave in w, so the zero of its slope is found by halving; w is 0 or 1 where one model alone is better than any
    mean. Judge the interpolation on other documents.

    Errors: `InputError`: no tokens, lengths that differ, a log-probability above 0 or not finite.
    """
    _check(first, second)
    if not len(first):
        raise InputError("interpolation: no token to choose the weight by; give validation documents")
    ratio = first - second
    gain = np.sign(ratio) * -np.expm1(-np.abs(ratio))  # (p - q) / max(p, q), (t,)
    least = np.exp(-np.abs(ratio))  # min(p, q) / max(p, q)
    of_first, of_second = np.where(ratio >= 0, 1.0, least), np.where(ratio >= 0, least, 1.0)
    low, high = 0.0, 1.0
    with np.errstate(divide="ignore", over="ignore"):  # without a weight, a model's slope may be infinite
        if np.sum(gain / of_second) <= 0:
            return low
        if np.sum(gain / of_first) >= 0:
            return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rises = np.sum(gain / (middle * of_first + (1 - middle) * of_second)) > 0
        low, high = (middle, high) if rises else (low, middle)
    return (low + high) / 2


def interpolated(first: Values, second: Values, weight: float) -> Values:
    """Return the log-probabilities (t,) of weight * p + (1 - weight) * q, from those of p and q (t,).

    Errors: `InputError`: a weight outside 0 to 1; lengths that differ, a log-probability above 0 or not finite.
    """
    _check(first, second)
    if not 0 <= weight <= 1:
        raise InputError(f"interpolation: the weight must be 0 to 1, it is {weight}")
    logs = (math.log(part) if part > 0 else -math.inf for part in (weight, 1 - weight))
    mixed: Values = np.logaddexp(*(log + each for log, each in zip(logs, (first, second), strict=True)))
    return mixed


def _check(first: Values, second: Values) -> None:
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"interpolation: two models must judge the same tokens (t,); they judge {first.shape} and {second.shape}"
        )
    for name, each in (("first", first), ("second", second)):
        wrong = np.flatnonzero(~(np.isfinite(each) & (each <= 1e-6)))
        if len(wrong):
            raise InputError(
                f"interpolation: the {name} model gives token {wrong[0]} the log-probability {each[wrong[0]]}; it must "
                "be finite and at most 0"
            )
