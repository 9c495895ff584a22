"""Uniformity: how evenly the vectors fill the sphere."""

from __future__ import annotations

from typing import ClassVar

from nearfar.contracts import Sample
from nearfar.vectors import geometry


class Uniformity:
    """Log of the mean Gaussian potential of distinct vectors: `geometry.uniformity`; lower is more even, 0 collapse.

    Call: a sample with n >= 2 unit vectors (n, d) -> one scalar. Errors: those of the function.

    When not to use it: to compare spaces of different dimension.
    """

    meaning: ClassVar[dict[str, str]] = {
        "uniformity": "log mean exp(-t |x - y|^2) over distinct vectors; lower is more even, 0 is collapse",
    }

    def __init__(self, t: float = 2.0) -> None:
        self.t = t

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Return the value by name."""
        return {"uniformity": float(geometry.uniformity(sample.vectors, self.t))}
