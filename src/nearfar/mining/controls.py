"""The choice of negatives among a query's nearest keys: by rank, by score and by sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError, nearest
from nearfar.mining.nearest import NearestKeys

Sampling = Literal["top", "random", "spread"]


@dataclass(frozen=True)
class Controls:
    """Which of a query's nearest keys become its negatives.

    Ranks count from 0 over the keys that may be negatives at all: known positives and equal texts have none. The keys
    between two ranks are the candidates, bounds on their scores reject some, and `sampling` chooses among the rest.

    Args:
        negatives: negatives for each query.
        range_min: the first rank of a candidate; the keys before it may be positives that nobody labelled.
        range_max: the rank after the last candidate. None is `range_min + negatives`, and `range_min + 10 * negatives`
            where a bound or a rescorer may reject some.
        absolute_margin: a negative scores at least this far below the query's lowest-scoring known positive, p.
        relative_margin: a negative scores below p by at least this share of |p|; 0.05 is TopK-PercPos at 95 %, Moreira
            et al. 2024, arXiv:2407.15831, section 3.
        min_score, max_score: bounds on a negative's score.
        sampling: "top" takes the nearest candidates, "random" draws them, "spread" takes some at even distances.
        seed: of "random".

    Errors: `InputError`: a number out of range, ranks that hold fewer candidates than `negatives`.

    The settings are those of sentence-transformers' `mine_hard_negatives`, with one difference: its `range_min` counts
    the candidates that its bounds leave, though its documentation says ranks; here it counts ranks.
    """

    negatives: int = 1
    range_min: int = 0
    range_max: int | None = 100
    absolute_margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    sampling: Sampling = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (("negatives", 1), ("range_min", 0), ("seed", 0)):
            if getattr(self, name) < minimum:
                raise InputError(f"mining.{name} must be at least {minimum}, it is {getattr(self, name)}")
        candidates = self.depth() - self.range_min
        if candidates < self.negatives:
            raise InputError(
                f"mining.range_max: ranks {self.range_min} to {self.range_max} leave {max(candidates, 0)} keys for "
                f"{self.negatives} negatives; raise range_max"
            )
        for name in ("absolute_margin", "relative_margin", "min_score", "max_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"mining.{name} must be a finite number, it is {value}")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise InputError(f"mining.min_score {self.min_score} is above max_score {self.max_score}, so no score fits")
        if self.sampling not in get_args(Sampling):
            raise InputError(
                f"mining.sampling: {self.sampling!r} is unknown; {nearest(self.sampling, get_args(Sampling))}"
            )

    @property
    def bounded(self) -> bool:
        """Whether a bound on scores may reject candidates."""
        bounds = (self.absolute_margin, self.relative_margin, self.min_score, self.max_score)
        return any(bound is not None for bound in bounds)

    def depth(self, *, rescored: bool = False) -> int:
        """Return how many of the nearest keys to search for; rescored ones are needed up to `range_max`."""
        last = self.range_min + self.negatives
        if self.range_max is None:
            return self.range_min + 10 * self.negatives if self.bounded or rescored else last
        nearest_only = self.sampling == "top" and not self.bounded and not rescored
        return min(self.range_max, last) if nearest_only else self.range_max


class NegativeSelection:
    """The negatives of n queries, selected from the nearest keys of one block of queries after the other.

    positive_scores: (n,) the score of each query's lowest-scoring positive, from which margins are measured; inf for a
    query without positives. rows, scores: (n, negatives) the result; -1 and -inf where there are fewer. removed: how
    many candidates each bound has rejected.
    """

    def __init__(self, controls: Controls, positive_scores: npt.NDArray[np.float32]) -> None:
        self.controls, self.positive_scores = controls, positive_scores
        self.rows = np.full((len(positive_scores), controls.negatives), -1, np.int64)
        self.scores = np.full((len(positive_scores), controls.negatives), -np.inf, np.float32)
        self.removed: dict[str, int] = {}
        self._random = np.random.default_rng(controls.seed)

    def add(self, block: NearestKeys) -> None:
        """Select the negatives of the next block of queries."""
        allowed = self._allowed(block)
        columns = self._columns(allowed)  # (b, negatives or fewer), those that are not allowed last
        valid = np.take_along_axis(allowed, columns, axis=1)
        place = np.s_[block.start : block.start + len(columns), : columns.shape[1]]
        self.rows[place] = np.where(valid, np.take_along_axis(block.rows, columns, axis=1), -1)
        self.scores[place] = np.where(valid, np.take_along_axis(block.scores, columns, axis=1), -np.inf)

    def _allowed(self, block: NearestKeys) -> npt.NDArray[np.bool_]:
        """Return which keys (b, k) may become negatives, and count those that the bounds reject."""
        c, scores = self.controls, block.scores
        allowed = block.rows >= 0
        allowed[:, : c.range_min] = False
        positive = self.positive_scores[block.start : block.start + len(scores), None].astype(np.float64)  # (b, 1)
        rejected = {
            "absolute_margin": None if c.absolute_margin is None else scores > positive - c.absolute_margin,
            "relative_margin": None if c.relative_margin is None else scores > positive - _relative_margin(positive, c),
            "max_score": None if c.max_score is None else scores > c.max_score,
            "min_score": None if c.min_score is None else scores < c.min_score,
        }
        for name, mask in rejected.items():
            if mask is not None:
                self.removed[name] = self.removed.get(name, 0) + int((allowed & mask).sum())
                allowed &= ~mask
        return allowed

    def _columns(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return the columns (b, negatives) that `sampling` selects, the nearest first."""
        wanted, sampling = min(self.controls.negatives, allowed.shape[1]), self.controls.sampling
        order = np.argsort(~allowed, axis=1, kind="stable")  # the allowed columns by rank, then the others
        if sampling == "top":
            return order[:, :wanted]
        count = allowed.sum(1)[:, None]  # (b, 1)
        if sampling == "spread":
            even = ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)  # (b, wanted)
            return np.take_along_axis(order, np.where(count >= wanted, even, np.arange(wanted)), axis=1)
        draws = self._random.random(allowed.shape, np.float32)
        draws[~allowed] = 2
        drawn = np.argpartition(draws, wanted - 1, axis=1)[:, :wanted]
        last = ~np.take_along_axis(allowed, drawn, axis=1) * allowed.shape[1]  # what is not allowed comes last
        return np.take_along_axis(drawn, np.argsort(drawn + last, axis=1), axis=1)


def _relative_margin(positive: npt.NDArray[np.float64], controls: Controls) -> npt.NDArray[np.float64]:
    """Return the relative margin in units of the score (b, 1); 0 for a query without positives."""
    return np.abs(np.where(np.isfinite(positive), positive, 0.0)) * (controls.relative_margin or 0.0)
