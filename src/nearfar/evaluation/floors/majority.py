"""The majority: the most frequent class."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions


class MajorityFloor:
    """The most frequent class of the training cells as the answer to every cell; of equally frequent ones the first."""

    takes: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    reads: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    fused: ClassVar[bool] = False

    def __call__(self, task: tasks.Labels, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the class as the answers (n,)."""
        counts = np.bincount(task.train_labels, minlength=len(task.classes))
        most = int(counts.argmax())
        about = {
            "name": "majority",
            "class": task.classes[most],
            "share of the training cells": counts[most] / counts.sum(),
        }
        return Predictions(answers=np.full(len(task.labels), most), about=about)
