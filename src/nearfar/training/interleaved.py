"""The endless row of several data sets: a row of its own for each, and turns among them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from nearfar.column import Ids
from nearfar.training.distinct import Distinct
from nearfar.training.passes import Passes, Shuffled
from nearfar.training.turns import Turns


class Interleaved:
    """Examples of several data sets, numbered one data set after the other, in the order of turns.

    sizes: of the data sets; turn: places that a turn has, 1, or those of a batch. A data set's row is endless and every
    example of it comes up equally often; no example comes twice in a batch that holds no more of its data set than
    there is (see `Distinct`).
    """

    def __init__(
        self, sizes: Sequence[int], turns: Turns, batch_size: int, *, turn: int = 1, seed: int = 0, queue: int = 0
    ) -> None:
        self.turns, self.turn, self.batch_size = turns, turn, batch_size
        self.first = np.cumsum([0, *sizes])
        self.rows = []
        for d, n in enumerate(sizes):
            most = batch_size if turn == batch_size else turns.most(d, batch_size)
            order = Distinct(n, Shuffled(n, seed, d + 1), most, partial(self._around, d))
            self.rows.append(Passes(n, order, queue))

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples from place `start` of the row to `stop`, (stop - start,)."""
        places = np.arange(start, stop)
        whose = self.turns.whose(places // self.turn)
        found = np.empty(len(places), np.int64)
        for d in np.unique(whose).tolist():
            mine = np.flatnonzero(whose == d)
            first = self._before(d, start)
            found[mine] = self.first[d] + self.rows[d](first, first + len(mine))
        return found

    def _before(self, d: int, place: int) -> int:
        """Return how many of the places before this one are data set d's."""
        turn, rest = np.divmod(np.array([place]), self.turn)
        mine = np.where(self.turns.whose(turn) == d, rest, 0)
        return int((self.turns.before(d, turn) * self.turn + mine)[0])

    def _around(self, d: int, own: int) -> tuple[int, int]:
        """Return the places of data set d's row that lie in one batch with place `own` of it, (start, stop)."""
        i, rest = divmod(own, self.turn)
        start = (self.turns.turn(d, i) * self.turn + rest) // self.batch_size * self.batch_size
        return self._before(d, start), self._before(d, start + self.batch_size)
