"""The endless row of several data sets: a row of its own for each, and turns among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        whose = self.turns.whose(np.arange(start, stop) // self.turn)
        for d in np.unique(whose).tolist():
            yield d, np.flatnonzero(whose == d), self._before(d, start)

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
