"""Which of a query's nearest keys become its negatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from nearfar.errors import InputError, nearest

Sampling = Literal["top", "random", "spread"]


@dataclass(frozen=True)
class Controls:
    """Which of a query's nearest keys become its negatives.

    Ranks count from 0 over the keys that may be negatives at all: known positives and equal texts have none. Ranks
    come first, bounds then turn candidates away, and `sampling` chooses among those that remain.

    Args:
        negatives: how many for each query.
        range_min: how many of the nearest to pass over, as they may be positives that nobody marked.
        range_max: the first rank that is no candidate any more; None: `range_min + negatives`, ten times `negatives`
            where a bound may turn some away.
        absolute_margin: a negative scores at least this much below the query's lowest-scoring known positive p.
        relative_margin: ... below p by at least this share of |p|; 0.05 is TopK-PercPos at 95 %, Moreira et al. 2024,
            arXiv:2407.15831, section 3.
        min_score, max_score: a negative scores at least, at most this.
        sampling: "top" takes the nearest, "random" any, "spread" some at even distances over the ranks.
        seed: of "random".

    Errors: `InputError`: a number out of range, ranks that leave fewer than `negatives`.

    The same settings as of sentence-transformers' `mine_hard_negatives`, but for one thing: there `range_min` counts
    what is left after the bounds, here and in its description it counts ranks.
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
        for name, least in (("negatives", 1), ("range_min", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"mining.{name} must be at least {least}, it is {getattr(self, name)}")
        room = self.depth() - self.range_min
        if room < self.negatives:
            raise InputError(
                f"mining.range_max: ranks {self.range_min} to {self.range_max} leave {max(room, 0)} keys for "
                f"{self.negatives} negatives; raise range_max"
            )
        for name in ("absolute_margin", "relative_margin", "min_score", "max_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"mining.{name} must be a finite number, it is {value}")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise InputError(f"mining.min_score {self.min_score} is above max_score {self.max_score}; nothing is left")
        if self.sampling not in get_args(Sampling):
            raise InputError(f"mining.sampling: no way {self.sampling!r}; {nearest(self.sampling, get_args(Sampling))}")

    @property
    def bounded(self) -> bool:
        """Whether a bound may turn candidates away."""
        bounds = (self.absolute_margin, self.relative_margin, self.min_score, self.max_score)
        return any(bound is not None for bound in bounds)

    def depth(self, *, filtered: bool = False) -> int:
        """Return how many of the nearest keys need to be known; all of range_max where a rescorer `filtered` them."""
        least = self.range_min + self.negatives
        if self.range_max is None:
            return self.range_min + 10 * self.negatives if self.bounded or filtered else least
        few = self.sampling == "top" and not self.bounded and not filtered
        return min(self.range_max, least) if few else self.range_max
