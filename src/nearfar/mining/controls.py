"""Which of a query's nearest keys become its negatives."""

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


class Choice:
    """Collects the negatives of n queries from blocks of candidates that come in order.

    lowest: (n,) the score of each query's farthest positive, which margins are measured from; inf without one.
    """

    def __init__(self, controls: Controls, lowest: npt.NDArray[np.float32]) -> None:
        self.controls, self.lowest = controls, lowest
        self.rows = np.full((len(lowest), controls.negatives), -1, np.int64)
        self.scores = np.full((len(lowest), controls.negatives), -np.inf, np.float32)
        self.removed: dict[str, int] = {}
        self._random = np.random.default_rng(controls.seed)

    def take(self, block: NearestKeys) -> None:
        """Take the next block's negatives."""
        allowed = self._allowed(block)
        columns = self._columns(allowed)  # (b, negatives or fewer), those that are not allowed last
        there = np.take_along_axis(allowed, columns, axis=1)
        place = np.s_[block.start : block.start + len(columns), : columns.shape[1]]
        self.rows[place] = np.where(there, np.take_along_axis(block.rows, columns, axis=1), -1)
        self.scores[place] = np.where(there, np.take_along_axis(block.scores, columns, axis=1), -np.inf)

    def _allowed(self, block: NearestKeys) -> npt.NDArray[np.bool_]:
        """Say which candidates (b, k) pass, and count those that do not."""
        c, scores = self.controls, block.scores
        allowed = block.rows >= 0
        allowed[:, : c.range_min] = False
        lowest = self.lowest[block.start : block.start + len(scores), None].astype(np.float64)
        bounds = {
            "absolute_margin": None if c.absolute_margin is None else scores > lowest - c.absolute_margin,
            "relative_margin": None if c.relative_margin is None else scores > lowest - _share(lowest, c),
            "max_score": None if c.max_score is None else scores > c.max_score,
            "min_score": None if c.min_score is None else scores < c.min_score,
        }
        for name, beyond in bounds.items():
            if beyond is not None:
                self.removed[name] = self.removed.get(name, 0) + int((allowed & beyond).sum())
                allowed &= ~beyond
        return allowed

    def _columns(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return the columns (b, negatives) that are taken, the nearest first."""
        wanted, sampling = min(self.controls.negatives, allowed.shape[1]), self.controls.sampling
        first = np.argsort(~allowed, axis=1, kind="stable")  # the allowed ones, in their order, then the others
        if sampling == "top":
            return first[:, :wanted]
        count = allowed.sum(1)[:, None]  # (b, 1)
        if sampling == "spread":
            even = ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)  # (b, wanted)
            return np.take_along_axis(first, np.where(count >= wanted, even, np.arange(wanted)), axis=1)
        drawn = self._random.random(allowed.shape, np.float32)
        drawn[~allowed] = 2
        some = np.argpartition(drawn, wanted - 1, axis=1)[:, :wanted]
        late = ~np.take_along_axis(allowed, some, axis=1) * allowed.shape[1]
        return np.take_along_axis(some, np.argsort(some + late, axis=1), axis=1)


def _share(lowest: npt.NDArray[np.float64], controls: Controls) -> npt.NDArray[np.float64]:
    """Return the relative margin; nothing is subtracted where there is no positive."""
    return np.abs(np.where(np.isfinite(lowest), lowest, 0.0)) * (controls.relative_margin or 0.0)
