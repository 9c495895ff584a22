"""Alignment: how close positive pairs are."""

from __future__ import annotations

from typing import ClassVar

from nearfar.contracts import Sample
from nearfar.vectors import geometry


class Alignment:
    """Mean distance of positive pairs to the power alpha: `geometry.alignment`; 0 is best, at most 2^alpha.

    Call: a sample with p >= 1 positive pairs of unit vectors (p, d) -> one scalar. Errors: those of the function.

    When not to use it alone: a space that has collapsed to one point has the best alignment; see `uniformity`.
    """

    meaning: ClassVar[dict[str, str]] = {
        "alignment": "mean |x - y|^alpha over positive pairs; lower is closer, collapse is 0 too",
    }

    def __init__(self, alpha: float = 2.0) -> None:
        self.alpha = alpha

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Return the value by name."""
        return {"alignment": float(geometry.alignment(sample.queries, sample.keys, self.alpha))}
