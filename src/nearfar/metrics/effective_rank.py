"""Effective rank: how many dimensions the vectors use."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.metrics.space.sample import sample_of
from nearfar.vectors import geometry


class EffectiveRank:
    """RankMe, exp of the entropy of the normalised singular values: `geometry.effective_rank`; 1 to min(n, d).

    Call: any task, and a sample with n vectors (n, d) -> one scalar, NaN where n < 2. Errors: those of the function.

    When not to use it: on fewer vectors than several times d, or to compare samples of different sizes.
    """

    takes: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    needs: ClassVar[tuple[str, ...]] = ("sample",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "effective_rank": "exp(entropy of the normalised singular values): dimensions in use, 1 to d",
    }

    def __call__(self, task: Any, predictions: Predictions) -> dict[str, float]:
        """Return the value by name."""
        sample = sample_of(predictions, f"{task.name}: effective_rank")
        return {
            "effective_rank": float(geometry.effective_rank(sample.vectors)) if len(sample.vectors) > 1 else math.nan
        }
