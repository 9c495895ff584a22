"""Which examples a step sees: a pure function of the seed and the step, so a resumed run sees the same."""

from __future__ import annotations

import numpy as np

from nearfar.column import Ids


class Sampler:
    """Batches from an endless row of shuffled passes over n examples.

    A batch may begin in one pass and end in the next, so every batch is full and every example comes up equally often.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, min(batch_size, n), seed
        self._orders: dict[int, Ids] = {}

    def steps(self, epochs: float) -> int:
        """Return the number of steps that make so many passes."""
        return max(1, round(epochs * self.n / self.batch_size))

    def batch(self, step: int) -> Ids:
        """Return the examples of a step (from 0), (batch_size,)."""
        start = step * self.batch_size
        stop = start + self.batch_size
        parts = []
        while start < stop:
            epoch, place = divmod(start, self.n)
            parts.append(self._order(epoch)[place : place + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _order(self, epoch: int) -> Ids:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return self._orders[epoch]
