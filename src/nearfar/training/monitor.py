"""The monitor: the geometry of the space while it is trained, and the alarm when it collapses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nearfar.losses.tiled.relations import Relations
from nearfar.pairs import Pairs
from nearfar.vectors import geometry

SAMPLE = 512  # rows that are measured: effective rank costs a singular value decomposition
COSINE_ALARM = 0.7  # mean cosine of random pairs: an even space has 0, a point 1
POINT = 0.01  # one minus that cosine: below, the vectors are nearly one point, whatever the first measurement was
NARROWER = 1 / 3  # of the first spread, and below: what ReLU gives is all positive, and learns at cosines above 0.7
RANK_ALARM = 0.1  # of the first measured effective rank,
FEW = 8  # and below this: SimSiam as it ships goes from 213 of random weights to 20, and learns


class Monitor:
    """Measures a batch's vectors: alignment, uniformity, mean random cosine, effective rank; warns of collapse once.

    Collapse is judged against the first measurement: a pretrained encoder may begin in a narrow cone.
    """

    def __init__(self, memory: dict[str, Any] | None = None) -> None:
        self.memory = {} if memory is None else memory  # survives an interruption: checkpoints hold it

    def look(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> dict[str, float]:
        """Return the geometry of queries (n, d) and keys (m, d). It depends on the batch: compare within a run only."""
        positives = Relations.of(pairs).positives
        facts = {}
        if len(positives[0]):
            i, j = (entries[:SAMPLE].to(queries.device) for entries in positives)
            facts["alignment"] = geometry.alignment(queries[i], keys[j]).item()
        sample = keys[:SAMPLE].float()
        facts["uniformity"] = geometry.uniformity(sample).item()
        facts["random_cosine"] = geometry.random_cosine(sample).item()
        facts["effective_rank"] = geometry.effective_rank(sample).item()
        return facts

    def alarm(self, facts: dict[str, float]) -> str | None:
        """Return a warning if the space collapses to a point or to few directions; once in a run."""
        first = self.memory.setdefault("first_look", facts)
        spread, before = 1 - facts["random_cosine"], 1 - first["random_cosine"]
        point = spread < POINT or (facts["random_cosine"] > COSINE_ALARM and spread < NARROWER * before)
        few = facts["effective_rank"] < min(FEW, RANK_ALARM * first["effective_rank"])
        if self.memory.get("warned") or not (point or few):
            return None
        self.memory["warned"] = True
        what = (
            f"random pairs have cosine {facts['random_cosine']:.2f} on average"
            if point
            else f"the effective rank fell from {first['effective_rank']:.0f} to {facts['effective_rank']:.1f}"
        )
        return (
            f"the space is collapsing: {what}; lower the learning rate; with negatives, use more of them or a higher "
            "temperature; without, give heads.prediction, and training.keys=stopped or momentum"
        )
