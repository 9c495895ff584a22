"""Uniformity: how evenly the vectors fill the sphere."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.errors import InputError
from nearfar.metrics.space.sample import sample_of
from nearfar.vectors import geometry


class Uniformity:
    """Log of the mean Gaussian potential of distinct vectors: `geometry.uniformity`; lower is more even, 0 collapse.

    Call: any task, and a sample with n unit vectors (n, d) -> one scalar, NaN where n < 2.
    Errors: those of the function.

    When not to use it: to compare spaces of different dimension.
    """

    takes: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    needs: ClassVar[tuple[str, ...]] = ("sample",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "uniformity": "log mean exp(-t |x - y|^2) over distinct vectors; lower is more even, 0 is collapse",
    }

    def __init__(self, t: float = 2.0) -> None:
        if not 0 < t < math.inf:
            raise InputError(f"uniformity.t: a number above 0, it is {t}")
        self.t = t

    def __call__(self, task: Any, predictions: Predictions) -> dict[str, float]:
        """Return the value by name."""
        sample = sample_of(predictions, f"{task.name}: uniformity")
        return {
            "uniformity": float(geometry.uniformity(sample.vectors, self.t)) if len(sample.vectors) > 1 else math.nan
        }
