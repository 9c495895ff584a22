"""Orders of passes in which no batch holds an example twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nearfar.column import Ids


class Distinct:
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
