"""The modality gap: how far apart the two kinds of cells lie as a whole."""

from __future__ import annotations

import math
from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.metrics.space.sample import sample_of
from nearfar.vectors.geometry import check_vectors


class ModalityGap:
    """The distance of the centres of the two sides, those of queries and of documents; 0 to 2.

        gap = |mean_i x_i - mean_i y_i|

    over positive pairs (x_i, y_i) of unit vectors. Source: Liang et al. 2022, arXiv:2203.02053, section 4.1: pictures
    and texts lie in two narrow cones, from the random start on, and a low temperature keeps them apart.

    Call: a retrieval task, and a sample with p positive pairs (p, d) -> one scalar, NaN without a pair. Errors: those
    of `geometry.check_vectors`.

    When not to use it: to judge a model. Closing the gap may make a search better or worse; and where one set of cells
    is both sides, it is near 0 by nature.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    needs: ClassVar[tuple[str, ...]] = ("sample",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "modality_gap": "distance of the centres of queries and documents, over positive pairs; 0 to 2",
    }

    def usual_for(self, task: tasks.Task) -> bool:
        """Return whether the task is between kinds, such as pictures and texts."""
        return tasks.between_kinds(task)

    def __call__(self, task: tasks.Retrieval, predictions: Predictions) -> dict[str, float]:
        """Return the value by name."""
        sample = sample_of(predictions, f"{task.name}: modality_gap")
        if not len(sample.queries):
            return {"modality_gap": math.nan}
        x, y = check_vectors(sample.queries, "queries").double(), check_vectors(sample.keys, "keys").double()
        return {"modality_gap": float((x.mean(0) - y.mean(0)).norm())}
