"""Which examples a step sees: a pure function of the seed and the step, so a resumed run sees the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.contracts import Positives
from nearfar.training.mixture import Mixture
from nearfar.training.settings import Settings

PERIOD = 1 << 16  # turns after which the sequence repeats, where shares are not exact in fewer


class Sampler:
    """Batches from an endless row of shuffled passes over n examples.

    A batch may begin in one pass and end in the next, so every batch is full and every example comes up equally often;
    one in such a batch may come twice. row: gives the examples from one place of the row to another, instead.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, queue: int = 0, row: Epochs | MixedSampler | None = None
    ) -> None:
        self.n, self.batch_size = n, min(batch_size, n)
        self.row = row or Epochs(n, Shuffled(n, seed), queue)

    @classmethod
    def of(cls, positives: Positives, settings: Settings) -> Self:
        """Return the batches that the settings ask for: of one data set, or of several, mixed.

        Several that are mixed in proportion to their sizes are one row, as if they were one data set; mixed in another
        way, or with one data set a batch, each has a row of its own (`Interleaved`).
        """
        n, (seed, queue) = len(positives), (settings.seed, settings.queue)
        alike = settings.mixing == "proportional" and not settings.one_data_set
        if alike or not isinstance(positives, Mixture):
            return cls(n, settings.batch_size, seed, queue)
        sizes, batch = [len(part) for part in positives.parts], min(settings.batch_size, n)
        turns = MixingSchedule(quotas(sizes, settings.mixing, settings.mixing_temperature), seed)
        turn = batch if settings.one_data_set else 1
        return cls(n, batch, seed, queue, MixedSampler(sizes, turns, batch, turn=turn, seed=seed, queue=queue))

    def steps(self, epochs: float) -> int:
        """Return the number of steps that make so many passes: of several data sets, as many places as all have."""
        return max(1, round(epochs * self.n / self.batch_size))

    def batch(self, step: int) -> Ids:
        """Return the examples of a step (from 0), (batch_size,)."""
        start = step * self.batch_size
        return self.row(start, start + self.batch_size)

    def passes(self, step: int) -> Ids:
        """Return how many passes over its data set came before each example of a step, (batch_size,)."""
        start = step * self.batch_size
        return self.row.passes(start, start + self.batch_size)


class Epochs:
    """The endless row of n examples, pass after pass; every example comes up once a pass.

    order: gives the examples of a pass, (n,), a pure function of its number. lookback: how far behind what was read
    last it is read again (by the queue), for what is kept in memory.
    """

    def __init__(self, n: int, order: Callable[[int], Ids], lookback: int = 0) -> None:
        self.n, self.order, self.lookback = n, order, lookback
        self._orders: dict[int, Ids] = {}

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples from place `start` of the row to `stop`, (stop - start,)."""
        parts = [np.empty(0, np.int64)]
        while start < stop:
            epoch, place = divmod(start, self.n)
            parts.append(self._order(epoch)[place : place + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def passes(self, start: int, stop: int) -> Ids:
        """Return the number of the pass that each of these places lies in, (stop - start,)."""
        return np.arange(start, stop) // self.n

    def _order(self, epoch: int) -> Ids:
        if epoch not in self._orders:
            wanted = epoch - 1 - self.lookback // self.n
            self._orders = {e: order for e, order in self._orders.items() if wanted <= e < epoch}
            self._orders[epoch] = self.order(epoch)
        return self._orders[epoch]


class Shuffled:
    """The order of a pass: a permutation of n examples, drawn by seed and pass."""

    def __init__(self, n: int, seed: int, *further: int) -> None:
        self.n, self.seed, self.further = n, seed, further

    def __call__(self, epoch: int) -> Ids:
        """Return the examples of a pass, (n,)."""
        return np.random.default_rng([self.seed, epoch, *self.further]).permutation(self.n)


class NoRepeat:
    """Shuffled passes, mended where a batch ends one and begins the next: what it had of the old pass comes later.

    most: examples of this data set in a batch, at most; around: gives the places (start, stop) of this data set's row
    that lie in one batch with a given place. A pass's end is left as it was drawn, so a pass depends on the one before
    it and on no earlier one. Where a batch takes more than half of the data set there is no room for that, and all
    passes have one order: still no example twice in a batch, or, where the batch is larger than the data set, none more
    than once more often than another.
    """

    def __init__(
        self, n: int, shuffled: Callable[[int], Ids], most: int, around: Callable[[int], tuple[int, int]]
    ) -> None:
        self.n, self.shuffled, self.most, self.around = n, shuffled, most, around

    def __call__(self, epoch: int) -> Ids:
        """Return the examples of a pass, (n,)."""
        if 2 * self.most - 1 > self.n:
            return self.shuffled(0)
        order = self.shuffled(epoch)
        start, stop = self.around(epoch * self.n)
        before, after = epoch * self.n - start, stop - epoch * self.n  # of the batch that begins this pass
        if epoch == 0 or before == 0:
            return order
        last = (epoch + 1) * self.n
        free = self.n - (last - self.around(last)[0])  # the places before the batch that ends this pass
        fresh = np.flatnonzero(~np.isin(order[:free], self.shuffled(epoch - 1)[self.n - before :]))[:after]
        return np.concatenate([order[fresh], np.delete(order, fresh)])


class MixedSampler:
    """Examples of several data sets, numbered one data set after the other, in the order of turns.

    sizes: of the data sets; turn: places that a turn has, 1, or those of a batch. A data set's row is endless and every
    example of it comes up equally often; no example comes twice in a batch that holds no more of its data set than
    there is (see `Distinct`).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        turns: MixingSchedule,
        batch_size: int,
        *,
        turn: int = 1,
        seed: int = 0,
        queue: int = 0,
    ) -> None:
        self.turns, self.turn, self.batch_size = turns, turn, batch_size
        self.first = np.cumsum([0, *sizes])
        self.rows = []
        for d, n in enumerate(sizes):
            most = batch_size if turn == batch_size else turns.most(d, batch_size)
            order = NoRepeat(n, Shuffled(n, seed, d + 1), most, partial(self._around, d))
            self.rows.append(Epochs(n, order, queue))

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples from place `start` of the row to `stop`, (stop - start,)."""
        found = np.empty(stop - start, np.int64)
        for d, mine, first in self._shares(start, stop):
            found[mine] = self.first[d] + self.rows[d](first, first + len(mine))
        return found

    def passes(self, start: int, stop: int) -> Ids:
        """Return the number of the pass over its own data set that each of these places lies in, (stop - start,)."""
        found = np.empty(stop - start, np.int64)
        for d, mine, first in self._shares(start, stop):
            found[mine] = self.rows[d].passes(first, first + len(mine))
        return found

    def _shares(self, start: int, stop: int) -> Iterator[tuple[int, Ids, int]]:
        """Yield each data set here, which of the places are its own, and where in its own row they begin."""
        dataset = self.turns.dataset_of(np.arange(start, stop) // self.turn)
        for d in np.unique(dataset).tolist():
            yield d, np.flatnonzero(dataset == d), self._before(d, start)

    def _before(self, d: int, place: int) -> int:
        """Return how many of the places before this one are data set d's."""
        turn, rest = np.divmod(np.array([place]), self.turn)
        mine = np.where(self.turns.dataset_of(turn) == d, rest, 0)
        return int((self.turns.before(d, turn) * self.turn + mine)[0])

    def _around(self, d: int, own: int) -> tuple[int, int]:
        """Return the places of data set d's row that lie in one batch with place `own` of it, (start, stop)."""
        i, rest = divmod(own, self.turn)
        start = (self.turns.turn(d, i) * self.turn + rest) // self.batch_size * self.batch_size
        return self._before(d, start), self._before(d, start + self.batch_size)


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


class MixingSchedule:
    """An endless, evenly spread sequence of data sets; in each period data set d has quotas[d] turns.

    A data set's turns lie evenly in the period, from a start that the seed draws, so that after any number of turns it
    has had its share of them within a few. How many it has had is looked up, not counted.
    """

    def __init__(self, quotas: Sequence[int], seed: int) -> None:
        self.quotas = list(quotas)
        dataset = np.repeat(np.arange(len(self.quotas)), self.quotas)  # (p,)
        place = np.concatenate([np.arange(quota) for quota in self.quotas])  # (p,)
        starts = np.random.default_rng([seed, len(self.quotas)]).random(len(self.quotas))
        time = (place + starts[dataset]) / np.array(self.quotas)[dataset]
        self.period = dataset[np.argsort(time, kind="stable")]  # (p,)
        self.own = [np.flatnonzero(self.period == d) for d in range(len(self.quotas))]  # each data set's turns

    def dataset_of(self, turns: Ids) -> Ids:
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
