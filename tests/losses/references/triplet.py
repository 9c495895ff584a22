from __future__ import annotations

import torch
from torch import Tensor

from nearfar.losses.triplet import Triplet
from nearfar.pairs import Pairs
from tests.losses.references import negatives, positives, shares, total

VARIANTS = [{}, {"negatives": "hardest", "margin": 1.0}, {"negatives": "all", "margin": 0.5}]
QUERIES_COUNT_ONCE = True


def reference(loss: Triplet, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    distance = 1 - q @ k.T  # (n, m)
    listed, others = positives(pairs), negatives(pairs)
    _, share = shares(pairs)
    terms, count = [], 0.0
    for i, j, w in listed:
        for other, part in _chosen(loss.negatives, distance.detach()[i], j, others[i], share):
            terms.append(w * part * torch.relu(distance[i, j] - distance[i, other] + loss.margin))
            count += w * part
    return total(terms, q) / count


def _chosen(
    which: str, distance: Tensor, positive: int, others: list[int], share: list[float]
) -> list[tuple[int, float]]:
    """Return a positive's negatives and what each counts."""
    by_distance = sorted(others, key=lambda other: float(distance[other]))
    if which == "all" or not others:
        return [(other, share[other]) for other in others]
    farther = [other for other in by_distance if distance[other] > distance[positive]]
    if which == "semihard":
        return [(farther[0] if farther else by_distance[-1], 1.0)]
    return [(by_distance[0], 1.0)]
