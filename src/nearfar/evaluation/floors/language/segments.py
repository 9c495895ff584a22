"""Numbers in segments, one after the other: the largest of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids


def largest(values: npt.NDArray[np.generic], first: Ids) -> Ids:
    """Return for each of s segments the place of its largest value among values (e,), of equal ones the first.

    first (s,): where each segment begins, ascending from 0; none is empty.
    """
    sizes = np.diff(first, append=len(values))
    places = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, first), sizes))
    segment = np.repeat(np.arange(len(first)), sizes)[places]
    return places[np.diff(segment, prepend=-1) > 0]
