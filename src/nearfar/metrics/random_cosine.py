"""Random cosine: how similar two unrelated vectors are on average."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.metrics.space.sample import sample_of
from nearfar.vectors import geometry


class RandomCosine:
    """Mean cosine of distinct vectors: `geometry.random_cosine`; near 0 is a full space, near 1 a narrow cone.

    Call: any task, and a sample with n vectors (n, d), none of zero length -> one scalar, NaN where n < 2.
    Errors: those of the function.
    """

    takes: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    needs: ClassVar[tuple[str, ...]] = ("sample",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "random_cosine": "mean cosine of distinct vectors; near 0 is a full space, near 1 a narrow cone",
    }

    def __call__(self, task: Any, predictions: Predictions) -> dict[str, float]:
        """Return the value by name."""
        sample = sample_of(predictions, f"{task.name}: random_cosine")
        return {"random_cosine": float(geometry.random_cosine(sample.vectors)) if len(sample.vectors) > 1 else math.nan}
