"""The nearest training cells of each cell, found once for all metrics of a system."""

from __future__ import annotations

from nearfar.contracts import Predictions
from nearfar.vectors.ranking import Ranking
from nearfar.vectors.topk import topk

_DEPTH = 200  # at least so many are kept: a second metric with other neighbours then costs nothing
_NAME = "nearest training cells"  # of them in `Predictions.shared`


def neighbours(predictions: Predictions, k: int) -> Ranking:
    """Return the k nearest training cells of each cell by cosine, best first: all of them where there are fewer."""
    cells, train = predictions.vectors["cells"], predictions.vectors["train"]
    known: Ranking | None = predictions.shared.get(_NAME)
    if known is None or known.rows.shape[1] < min(k, len(train)):
        known = predictions.shared[_NAME] = topk(cells, train, max(k, _DEPTH))
    return Ranking(known.rows[:, :k], known.scores[:, :k])
