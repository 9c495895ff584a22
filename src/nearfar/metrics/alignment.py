"""Alignment: how close positive pairs are."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.errors import InputError
from nearfar.metrics.space.sample import sample_of
from nearfar.vectors import geometry


class Alignment:
    """Mean distance of positive pairs to the power alpha: `geometry.alignment`; 0 is best, at most 2^alpha.

    Call: any task, and a sample with p positive pairs of unit vectors (p, d) -> one scalar, NaN without a pair. Errors:
    those of the function.

    When not to use it alone: a space that has collapsed to one point has the best alignment; see `uniformity`.
    """

    takes: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    needs: ClassVar[tuple[str, ...]] = ("sample",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "alignment": "mean |x - y|^alpha over positive pairs; lower is closer, collapse is 0 too",
    }

    def __init__(self, alpha: float = 2.0) -> None:
        if not 0 < alpha < math.inf:
            raise InputError(f"alignment.alpha: a power above 0, it is {alpha}")
        self.alpha = alpha

    def __call__(self, task: Any, predictions: Predictions) -> dict[str, float]:
        """Return the value by name."""
        sample = sample_of(predictions, f"{task.name}: alignment")
        return {
            "alignment": float(geometry.alignment(sample.queries, sample.keys, self.alpha))
            if len(sample.queries) > 0
            else math.nan
        }
