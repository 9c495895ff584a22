"""Which examples a step sees: a pure function of the seed and the step, so a resumed run sees the same."""

from __future__ import annotations

import numpy as np

from nearfar.column import Ids


class Sampler:
    """Batches from an endless row of shuffled passes over n examples.

    A batch may begin in one pass and end in the next, so every batch is full and every example comes up equally often.
    """

    def __init__(self, n: int, batch_size: int, seed: int, queue: int = 0) -> None:
        self.n, self.batch_size, self.seed, self.queue = n, min(batch_size, n), seed, queue
        self._orders: dict[int, Ids] = {}

    def steps(self, epochs: float) -> int:
        """Return the number of steps that make so many passes."""
        return max(1, round(epochs * self.n / self.batch_size))

    def batch(self, step: int) -> Ids:
        """Return the examples of a step (from 0), (batch_size,)."""
        start = step * self.batch_size
        return self.row(start, start + self.batch_size)

    def row(self, start: int, stop: int) -> Ids:
        """Return the examples from place `start` of the endless row to `stop`, (stop - start,)."""
        parts = [np.empty(0, np.int64)]
        while start < stop:
            epoch, place = divmod(start, self.n)
            parts.append(self._order(epoch)[place : place + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _order(self, epoch: int) -> Ids:
        if epoch not in self._orders:
            wanted = epoch - 1 - self.queue // self.n  # the queue looks back
            self._orders = {e: order for e, order in self._orders.items() if wanted <= e < epoch}
            self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return self._orders[epoch]
