"""Random cosine: how similar two unrelated vectors are on average."""

from __future__ import annotations

from typing import ClassVar

from nearfar.contracts import Sample
from nearfar.vectors import geometry


class RandomCosine:
    """Mean cosine of distinct vectors: `geometry.random_cosine`; near 0 is a full space, near 1 a narrow cone.

    Call: a sample with n >= 2 vectors (n, d), none of zero length -> one scalar. Errors: those of the function.
    """

    meaning: ClassVar[dict[str, str]] = {
        "random_cosine": "mean cosine of distinct vectors; near 0 is a full space, near 1 a narrow cone",
    }

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Return the value by name."""
        return {"random_cosine": float(geometry.random_cosine(sample.vectors))}
