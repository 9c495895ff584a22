"""Index arithmetic over rows of unequal length, without a loop."""

from __future__ import annotations

import numpy as np

from nearfar.column import Ids


def ranges(start: Ids, count: Ids) -> Ids:
    """Return start[i], start[i] + 1, ... (count[i] of them) for each i, one after the other."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    places: Ids = np.arange(total) + np.repeat(start - (ends - count), count)
    return places


def meetings(left: Ids, right: Ids) -> tuple[Ids, Ids]:
    """Return all (i, j) with left[i] == right[j], ordered by i, then j."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    start = np.searchsorted(ordered, left)
    count = np.searchsorted(ordered, left, side="right") - start
    return np.repeat(np.arange(len(left)), count), order[ranges(start, count)]
