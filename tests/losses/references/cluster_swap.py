from __future__ import annotations

import torch
from torch import Tensor

from nearfar.compute.scheduled import value_at
from nearfar.losses.cluster_swap import ClusterSwap
from nearfar.pairs import Pairs
from tests.losses.references import positives, shares, total

VARIANTS = [
    {"clusters": 5},
    {"clusters": 3, "temperature": 0.5, "epsilon": 0.3, "iterations": 1, "seed": 7},
]
QUERIES_COUNT_ONCE = True


def reference(loss: ClusterSwap, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    listed = positives(pairs)
    centres = torch.stack([c / c.norm() for c in loss.prototypes])  # (p, d)
    a, b = shares(pairs)
    code_q, code_k = _codes(loss, q @ centres.T, a), _codes(loss, k @ centres.T, b)
    terms = []
    temperature = value_at(loss.temperature, 0, 1)
    for i, j, w in listed:
        p, r = (torch.softmax(centres @ x / temperature, 0) for x in (q[i], k[j]))
        terms.append(-w * (code_k[j] @ p.log() + code_q[i] @ r.log()))
    return total(terms, q)


@torch.no_grad()
def _codes(loss: ClusterSwap, s: Tensor, share: list[float]) -> Tensor:
    """Sinkhorn as in the paper's listing, on the matrix itself: rows get their mass, columns one part each."""
    mass = torch.tensor(share, dtype=s.dtype)[:, None] / sum(share)  # (n, 1)
    plan = mass * torch.exp((s - s.max()) / loss.epsilon)  # (n, p)
    for _ in range(loss.iterations):
        plan = plan / plan.sum(0) / plan.shape[1]
        plan = plan / plan.sum(1, keepdim=True) * mass
    return plan / mass
