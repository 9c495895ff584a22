"""Effective rank: how many dimensions the vectors use."""

from __future__ import annotations

from typing import ClassVar

from nearfar.contracts import Sample
from nearfar.vectors import geometry


class EffectiveRank:
    """RankMe, exp of the entropy of the normalised singular values: `geometry.effective_rank`; 1 to min(n, d).

    Call: a sample with n >= 1 vectors (n, d) -> one scalar. Errors: those of the function.

    When not to use it: on fewer vectors than several times d, or to compare samples of different sizes.
    """

    meaning: ClassVar[dict[str, str]] = {
        "effective_rank": "exp(entropy of the normalised singular values): dimensions in use, 1 to d",
    }

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Return the value by name."""
        return {"effective_rank": float(geometry.effective_rank(sample.vectors))}
