"""Which candidates are taken: ranks, bounds, sampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.mining._closest import Closest
from nearfar.mining.controls import Controls


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

    def take(self, block: Closest) -> None:
        """Take the next block's negatives."""
        allowed = self._allowed(block)
        columns = self._columns(allowed)  # (b, negatives or fewer), those that are not allowed last
        there = np.take_along_axis(allowed, columns, axis=1)
        place = np.s_[block.start : block.start + len(columns), : columns.shape[1]]
        self.rows[place] = np.where(there, np.take_along_axis(block.rows, columns, axis=1), -1)
        self.scores[place] = np.where(there, np.take_along_axis(block.scores, columns, axis=1), -np.inf)

    def _allowed(self, block: Closest) -> npt.NDArray[np.bool_]:
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
