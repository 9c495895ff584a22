"""Means over the tokens of texts, in resamples of the texts."""

from __future__ import annotations

import numpy as np

from nearfar.contracts import TokenScores, Values


def by_text(scores: TokenScores, n: int) -> tuple[Values, Values, Values]:
    """Return of each of n texts the number of tokens asked for, how many were right, and their log-likelihood."""
    ones = np.ones(len(scores.rows))
    values = (ones, scores.right.astype(np.float64), scores.log_likelihood)
    count, right, likelihood = (np.bincount(scores.rows, of, n).astype(np.float64) for of in values)
    return count, right, likelihood


def ratio(weight: Values, sums: Values, count: Values) -> Values:
    """Return the mean over tokens (b,) where each text occurs weight (b, n) times; NaN where no text has any.

    sums, count (n,): of a value over the tokens of each text, and their number.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Values = (weight @ sums) / (weight @ count)
    return means
