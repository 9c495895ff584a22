"""Contestants in training: what was measured of each, judged by the same held-out queries."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _machine import Bound, bound

SPEED_LIMIT, QUALITY_LIMIT = 3.0, -0.01
METRIC = "mrr@10"
Gaps = dict[str, dict[str, float]]


@dataclass
class Contestant:
    """What was measured of one contestant, a run a round, and its value of each held-out query, (q,) a round."""

    name: str
    settings: dict[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median(float(run[what]) for run in self.runs)

    @property
    def quality(self) -> Any:
        """Each query's mean over rounds, (q,): a round has a seed of its own."""
        return np.mean(self.values, 0)


def judge(task: Any, scratch: Path) -> Any:
    """Return a metric's value of each query, (q,), from the vectors that a contestant left."""
    from nearfar.metrics.retrieval import Retrieval
    from nearfar.topk import topk

    ranking = topk(np.load(scratch / "queries.npy"), np.load(scratch / "documents.npy"), 100)
    return Retrieval()(task, ranking)[METRIC]


def differences(ours: Contestant, peers: list[Contestant], clusters: Any) -> Gaps:
    """Return ours minus each peer's, query by query, with the 95 % interval of a bootstrap over whole clusters."""
    from nearfar.evaluation._bootstrap import mean_intervals

    gaps = {peer.name: ours.quality - peer.quality for peer in peers}
    spread = mean_intervals(gaps, clusters, resamples=2000, seed=0)
    return {name: {"value": float(gap.mean()), **spread[name]} for name, gap in gaps.items()}


def bounds(ours: Contestant, peers: list[Contestant], gaps: Gaps, fast: set[str]) -> list[Bound]:
    """Hold us against the peer's fastest variant in speed, and against its best in quality.

    Only `fast` differ in speed; of more, the fastest would be the one that the noise favoured.
    """
    fastest = max((peer for peer in peers if peer.name in fast), key=lambda peer: peer.median("pairs_per_second"))
    best = max(peers, key=lambda peer: float(peer.quality.mean()))
    speed = ours.median("pairs_per_second") / fastest.median("pairs_per_second")
    return [
        bound(f"pairs a second, times the peer's fastest ({fastest.name})", speed, SPEED_LIMIT, least=True),
        bound(
            f"{METRIC} minus the peer's best ({best.name}), low end", gaps[best.name]["low"], QUALITY_LIMIT, least=True
        ),
    ]
