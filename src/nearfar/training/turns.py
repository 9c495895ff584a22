"""Whose turn it is: which data set each place, or each batch, of a run comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids

PERIOD = 1 << 16  # turns after which the sequence repeats, where shares are not exact in fewer


def quotas(sizes: Sequence[int], mixing: str, temperature: float) -> list[int]:
    """Return how many turns of a period each data set of so many examples has; it has one at least.

    proportional: as its size, in as few turns as that takes, or rounded to 65,536; round_robin: one; temperature: as
    its size to the power of 1 / temperature, rounded likewise (Arivazhagan et al. 2019, arXiv:1907.05019, section 4.2;
    Devlin's multilingual BERT of 2018 has exponent 0.7).
    """
    if mixing == "round_robin":
        return [1] * len(sizes)
    if mixing == "temperature" or sum(sizes) // math.gcd(*sizes) > PERIOD:
        exponent = 1 / temperature if mixing == "temperature" else 1.0
        shares = (np.array(sizes) / max(sizes)) ** exponent
        sizes = [max(1, round(share)) for share in (shares / shares.sum() * PERIOD).tolist()]
    return [size // math.gcd(*sizes) for size in sizes]


class Turns:
    """An endless, evenly spread sequence of data sets; in each period data set d has quotas[d] turns.

    A data set's turns lie evenly in the period, from a start that the seed draws, so that after any number of turns it
    has had its share of them within a few. How many it has had is looked up, not counted.
    """

    def __init__(self, quotas: Sequence[int], seed: int) -> None:
        self.quotas = list(quotas)
        whose = np.repeat(np.arange(len(self.quotas)), self.quotas)  # (p,)
        place = np.concatenate([np.arange(quota) for quota in self.quotas])  # (p,)
        starts = np.random.default_rng([seed, len(self.quotas)]).random(len(self.quotas))
        time = (place + starts[whose]) / np.array(self.quotas)[whose]
        self.period = whose[np.argsort(time, kind="stable")]  # (p,)
        self.own = [np.flatnonzero(self.period == d) for d in range(len(self.quotas))]  # each data set's turns

    def whose(self, turns: Ids) -> Ids:
        """Return the data sets of some turns."""
        found: Ids = self.period[turns % len(self.period)]
        return found

    def before(self, d: int, turns: Ids) -> Ids:
        """Return how many of the turns before these are data set d's."""
        whole, rest = np.divmod(turns, len(self.period))
        return whole * self.quotas[d] + np.searchsorted(self.own[d], rest)

    def turn(self, d: int, i: int) -> int:
        """Return the turn that is data set d's i-th, from 0."""
        whole, rest = divmod(i, self.quotas[d])
        return whole * len(self.period) + int(self.own[d][rest])

    def most(self, d: int, turns: int) -> int:
        """Return how many of so many consecutive turns are data set d's, at most."""
        start: npt.NDArray[np.int64] = np.arange(len(self.period))
        return int((self.before(d, start + turns) - self.before(d, start)).max())
