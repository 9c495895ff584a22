"""The monitor: the geometry of the space while it is trained, and the alarm when it collapses."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.losses.tiled.relations import Entries, Relations
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

    Collapse is judged against the first measurement: a pretrained encoder may begin in a narrow cone. Positives may
    become one point: cosines are those of keys of different groups, and few classes fill few directions.
    """

    def __init__(self, memory: dict[str, Any] | None = None) -> None:
        self.memory = {} if memory is None else memory  # survives an interruption: checkpoints hold it

    def look(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> dict[str, float]:
        """Return the geometry of queries (n, d) and keys (m, d). It depends on the batch: compare within a run only.

        "negative_cosine" and "groups" are of the keys' groups. Keys that are zero have no direction, and do not count;
        without any other the space is a point.
        """
        facts = {}
        i, j = _some_positives(pairs)
        if len(i):
            i, j = i.to(queries.device), j.to(queries.device)
            facts["alignment"] = geometry.alignment(queries[i], keys[j]).item()
        sample, group = keys[:SAMPLE].float(), pairs.key_group[:SAMPLE].to(keys.device)
        kept = torch.linalg.vector_norm(sample, dim=1) > 0
        sample, group = sample[kept], group[kept]
        if len(sample) < 2:
            return {**facts, "uniformity": 0.0, "random_cosine": 1.0, "effective_rank": 1.0}
        facts["uniformity"] = geometry.uniformity(sample).item()
        facts["random_cosine"] = geometry.random_cosine(sample).item()
        facts["effective_rank"] = geometry.effective_rank(sample).item()
        return facts | _apart(sample, group)

    def alarm(self, facts: dict[str, float]) -> str | None:
        """Return a warning if the space collapses to a point or to few directions; once in a run."""
        first = self.memory.setdefault("first_look", facts)
        if facts.get("groups") == 1:  # all of one class, which may be one point
            return None
        cosine, at_first = (one.get("negative_cosine", one["random_cosine"]) for one in (facts, first))
        spread, before = 1 - cosine, 1 - at_first
        point = spread < POINT or (cosine > COSINE_ALARM and spread < NARROWER * before)
        least = (facts.get("groups", math.inf) - 1) / 2  # classes that are told apart fill one direction less
        few = facts["effective_rank"] < min(FEW, RANK_ALARM * first["effective_rank"], least)
        if self.memory.get("warned") or not (point or few):
            return None
        self.memory["warned"] = True
        what = (
            f"random pairs have cosine {cosine:.2f} on average"
            if point
            else f"the effective rank fell from {first['effective_rank']:.0f} to {facts['effective_rank']:.1f}"
        )
        return (
            f"the space is collapsing: {what}; lower the learning rate; with negatives, use more of them or a higher "
            "temperature; without, give heads.prediction, and training.keys=stopped or momentum"
        )


def _some_positives(pairs: Pairs) -> Entries:
    """Return the rows (e,) and keys (e,) of at most 512 positives, spread evenly over all."""
    relations = Relations.of(pairs)
    i, j = relations.positives
    if relations.compare_groups:  # few large groups, whose positives are not listed
        n, m = pairs.shape
        rows = torch.linspace(0, n - 1, min(n, SAMPLE)).long()
        positive, _ = pairs.by_ids(rows[:, None], torch.arange(m)[None, :])  # (r, m)
        place, j = positive.nonzero(as_tuple=True)
        i = rows[place]
    if len(i) <= SAMPLE:
        return i, j
    chosen = torch.linspace(0, len(i) - 1, SAMPLE).long()
    return i[chosen], j[chosen]


def _apart(sample: Tensor, group: Tensor) -> dict[str, float]:
    """Return the mean cosine of vectors (m, d) of different groups (m,), if there are any, and the number of groups.

    In closed form, like `geometry.random_cosine`: (|sum_i u_i|^2 - sum_g |sum_(i in g) u_i|^2) over as many pairs.
    """
    unit = normalize(sample.double(), dim=1)
    _, place, count = torch.unique(group, return_inverse=True, return_counts=True)
    of_group = unit.new_zeros(len(count), unit.shape[1]).index_add_(0, place, unit)  # (g, d)
    pairs = len(unit) ** 2 - int(count.square().sum())
    facts = {"groups": float(len(count))}
    if pairs:
        facts["negative_cosine"] = float((unit.sum(0).square().sum() - of_group.square().sum()) / pairs)
    return facts
