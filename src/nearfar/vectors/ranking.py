"""What a search finds, as arrays; torch is not needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.errors import InputError


@dataclass(frozen=True)
class Ranking:
    """The best rows of each query, best first, equal scores by row.

    Where a query has fewer than k results (exclusions, no word in common), the rest is row -1 with score -inf.
    """

    rows: Ids  # (n, k)
    scores: npt.NDArray[np.float32]  # (n, k)

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            raise InputError(f"a ranking's rows {self.rows.shape} and scores {self.scores.shape} must be one (n, k)")
