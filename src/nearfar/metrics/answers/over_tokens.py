"""Means over the tokens of texts, in resamples of the texts: how often the model is right, and how likely they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nearfar.contracts import Statistic, TokenScores, Values
from nearfar.errors import InputError


@dataclass(frozen=True)
class TokenMeans:
    """Over all tokens of all texts the share predicted right, the mean log-likelihood and the perplexity of it.

    bits: the negative log2-likelihood of all tokens.
    """

    accuracy: Statistic
    log_likelihood: Statistic
    perplexity: float
    bits: float

    @classmethod
    def of(cls, scores: TokenScores | None, n: int, which: str) -> TokenMeans:
        """Return the means of n texts. which: "hidden" or "next" tokens. Errors: `InputError` where there is none."""
        if scores is None or not len(scores.rows):
            raise InputError(f"{which}_tokens: it needs the scores of at least one {which} token")
        count, right, likelihood = by_text(scores, n)
        mean = float(likelihood.sum() / count.sum())
        accuracy = Statistic(float(right.sum() / count.sum()), lambda w: ratio(w, right, count))
        log_likelihood = Statistic(mean, lambda w: ratio(w, likelihood, count))
        return cls(accuracy, log_likelihood, math.exp(min(-mean, 700.0)), float(-likelihood.sum() / math.log(2)))


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
