"""An endless row of shuffled passes over one data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nearfar.column import Ids


class Passes:
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
