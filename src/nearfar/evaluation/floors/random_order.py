"""Random order: chance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.evaluation.report import DEPTH
from nearfar.vectors.ranking import Ranking


class RandomOrderFloor:
    """Documents, or pairs, in an order drawn by the seed: what chance reaches, for cells that no other floor reads."""

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval, tasks.Similarity, tasks.PairLabels)
    reads: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[type, ...]] = ()
    fused: ClassVar[bool] = False

    def __call__(self, task: tasks.Retrieval | tasks.Similarity | tasks.PairLabels, seed: int) -> Predictions:
        """Return a ranking, or scores."""
        generator = np.random.default_rng(seed)
        about = {"name": "random-order", "seed": seed}
        if isinstance(task, tasks.Retrieval):
            return Predictions(ranking=_drawn(task, generator), about=about)
        dev = task.dev if isinstance(task, tasks.PairLabels) else None
        scores = generator.random(len(task.first))
        return Predictions(
            scores=scores, dev_scores=None if dev is None else generator.random(len(dev.first)), about=about
        )


def _drawn(task: tasks.Retrieval, generator: np.random.Generator) -> Ranking:
    m = len(task.documents)
    depth = min(DEPTH, m)
    rows = np.full((len(task.queries), depth), -1, np.int64)
    for query in range(len(rows)):
        out = task.excluded.get(query, [])
        drawn = generator.choice(m, min(m, depth + len(out)), replace=False)
        kept = drawn[~np.isin(drawn, out)][:depth]
        rows[query, : len(kept)] = kept
    scores = np.where(rows < 0, -np.inf, -np.arange(depth, dtype=np.float32))
    return Ranking(rows, scores.astype(np.float32))
