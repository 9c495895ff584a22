"""Which examples a step sees: a pure function of the seed and the step, so a resumed run sees the same."""

from __future__ import annotations

from typing import Self

from nearfar.column import Ids
from nearfar.contracts import Positives
from nearfar.training.interleaved import Interleaved
from nearfar.training.mixture import Mixture
from nearfar.training.passes import Passes, Shuffled
from nearfar.training.settings import Settings
from nearfar.training.turns import Turns, quotas


class Sampler:
    """Batches from an endless row of shuffled passes over n examples.

    A batch may begin in one pass and end in the next, so every batch is full and every example comes up equally often;
    one in such a batch may come twice. row: gives the examples from one place of the row to another, instead.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, queue: int = 0, row: Passes | Interleaved | None = None
    ) -> None:
        self.n, self.batch_size = n, min(batch_size, n)
        self.row = row or Passes(n, Shuffled(n, seed), queue)

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
        turns = Turns(quotas(sizes, settings.mixing, settings.mixing_temperature), seed)
        turn = batch if settings.one_data_set else 1
        return cls(n, batch, seed, queue, Interleaved(sizes, turns, batch, turn=turn, seed=seed, queue=queue))

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
