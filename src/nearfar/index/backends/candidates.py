"""What a database finds by its own scores, and which of it is nearest by ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearfar.index.rescore import best, exact_scores
from nearfar.index.rows import Nearest, Vectors
from nearfar.index.scan import rounding

MORE = 16  # candidates beyond k: enough, unless many scores are equal


@dataclass(frozen=True)
class Shortlist:
    """The best rows that a database found for a query (d,): ids, vectors (m, d), and its inner products (m,)."""

    query: Vectors
    ids: list[str]
    vectors: Vectors
    theirs: Vectors

    @cached_property
    def _scores(self) -> Vectors:
        return exact_scores(self.query, self.vectors)

    def best(self, k: int) -> Nearest:
        """Return the k best by scores that are the same on every backend."""
        return best(self.ids, self._scores, k)

    def lacking(self, k: int, limit: int) -> float | None:
        """Return None where the k best are among these; or else the least score, of theirs, that one of them may have.

        The database was asked for `limit` rows, at least k, and compared every row. Its scores are rounded, so a row
        that belongs to the k best may come after as many others.
        """
        if len(self.ids) < limit:
            return None  # these are all that match
        norm = float(np.linalg.norm(self.query))
        slack = 2 * rounding(len(self.query) + 2) * (1 + norm)  # + 2: a distance is 1 - score
        least = float(np.partition(self._scores, -k)[-k]) - slack
        return None if float(self.theirs.min()) < least else least


def settled(
    found: Shortlist, k: int, limit: int, look: Callable[[int | None, float | None], Shortlist], *, exact: bool
) -> Nearest:
    """Return the k best, after another look where the candidates may lack one of them.

    found: of at most `limit` rows. look: compares every row; returns at most so many, or those of at least a score.
    exact: whether every row has been compared; an approximate index counts where it found k.
    """
    if not exact and len(found.ids) < k:  # fewer match, or the index came short
        found, exact = look(limit, None), True
    if exact and (least := found.lacking(k, limit)) is not None:
        found = look(None, least)
    return found.best(k)
