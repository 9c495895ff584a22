"""Means over the tokens of texts, in resamples of the texts."""

from __future__ import annotations

import numpy as np

from nearfar.contracts import Values


def ratio(weight: Values, sums: Values, count: Values) -> Values:
    """Return the mean over tokens (b,) where each text occurs weight (b, n) times; NaN where no text has any.

    sums, count (n,): of a value over the tokens of each text, and their number.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Values = (weight @ sums) / (weight @ count)
    return means
