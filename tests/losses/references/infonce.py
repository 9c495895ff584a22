"""InfoNCE in all its forms, one query at a time, as it is written on paper."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import assume
from torch import Tensor

from nearfar.pairs import Pairs
from tests.losses.naive import copies, relation

VARIANTS: list[dict[str, Any]] = [
    {"learnable": True},
    {"temperature": 0.3, "tile": 3},
    {"learnable": True, "symmetric": False, "temperature": 0.5, "tile": 3},
    {"learnable": True, "positives": "inside", "temperature": 0.3, "tile": 4},
    {"learnable": True, "margin": 0.2, "temperature": 0.3, "tile": 4},
    {"learnable": True, "margin": 0.1, "positives": "inside", "temperature": 0.3},
    {"learnable": True, "decoupled": True, "temperature": 0.3, "tile": 4},
    {"learnable": True, "decoupled": "weighted", "sigma": 0.7, "temperature": 0.3},
    {"learnable": True, "decoupled": True, "positives": "inside", "margin": 0.1, "temperature": 0.3},
    {"learnable": True, "hardness": 0.7, "temperature": 0.4, "tile": 4},
    {"learnable": True, "debiasing": 0.1, "temperature": 0.6, "tile": 5},
    {"learnable": True, "hardness": 1.5, "debiasing": 0.1, "temperature": 0.8, "positives": "inside"},
    {"learnable": True, "false_negatives": 0.07, "temperature": 0.3, "tile": 4},
    {"learnable": True, "false_negatives": 0.11, "relative": True, "temperature": 0.3},
    {"learnable": True, "false_negatives": -0.13, "hardness": 0.5, "temperature": 0.3, "tile": 3},
    {"learnable": True, "false_negatives": 0.07, "decoupled": True, "symmetric": False, "temperature": 0.02},
]


def reference(loss: Any, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    near, candidate = relation(pairs)
    c = q @ k.T  # (n, m)
    a = shares(pairs.key_item, pairs.key_scope).to(q.dtype)
    b = shares(pairs.query_item, pairs.query_scope).to(q.dtype)
    forth = one_way(loss, c, near, candidate, a, torch.ones_like(b))
    return (forth + one_way(loss, c.T, near.T, candidate.T, b, a)) / 2 if loss.symmetric else forth


def shares(item: Tensor, scope: Tensor | None) -> Tensor:
    """One over the number of each row's copies."""
    return torch.tensor([1 / len(copies(item, scope, row)) for row in range(len(item))], dtype=torch.float64)


def one_way(loss: Any, c: Tensor, near: Tensor, candidate: Tensor, share: Tensor, anchor: Tensor) -> Tensor:
    rows = [i for i in range(len(c)) if bool((near[i] > 0).any())]
    scale = torch.as_tensor(loss.scale.value(c.dtype), dtype=c.dtype)
    p = {i: near[i].to(c.dtype) * share / (near[i].to(c.dtype) @ share) for i in rows}  # weights of the positives
    weight = dict.fromkeys(rows, 1.0)
    if loss.decoupled == "weighted":
        wave = {i: math.exp(float((p[i] @ c[i]).detach()) / loss.sigma) for i in rows}
        mean = sum(float(anchor[i]) * wave[i] for i in rows) / sum(float(anchor[i]) for i in rows)
        weight = {i: 2 - wave[i] / mean for i in rows}
    total = c.new_zeros(())
    for i in rows:
        positive = near[i] > 0
        lowest = float(c[i][positive].min().detach())
        far = candidate[i] & ~positive
        if loss.false_negatives is not None:
            room = loss.false_negatives * (abs(lowest) if loss.relative else 1.0)
            assume(float((c[i].detach() - lowest - room).abs().min()) > 1e-9)  # rounding would decide
            far = far & (c[i].detach() <= lowest + room)
        s = scale * c[i]  # (m,)
        pushed = negatives(loss, s[far], share[far], (p[i] * s.exp()).sum(), scale)
        pulled = (p[i] * s.exp()).sum().log() if loss.positives == "inside" else p[i] @ s
        pulled = pulled - loss.margin * scale
        if loss.decoupled:
            push = pushed.log() if bool(far.any()) else c.new_zeros(())
        else:
            push = (pushed + (share * (s - loss.margin * scale).exp())[positive].sum()).log()
        total = total + anchor[i] * (push - weight[i] * pulled)
    return total / sum(anchor[i] for i in rows)


def negatives(loss: Any, s: Tensor, share: Tensor, near: Tensor, scale: Tensor) -> Tensor:
    """What the negatives weigh together; near: the positives' mean exponential."""
    if len(s) == 0:
        return s.new_zeros(())
    number = share.sum()
    heavy = share * (loss.hardness * s).exp()
    summed = number * (heavy * s.exp()).sum() / heavy.sum() if loss.hardness else (share * s.exp()).sum()
    if not loss.debiasing:
        return summed
    rest = (summed - number * loss.debiasing * near) / (1 - loss.debiasing)
    least = number * (-scale).exp()
    assume(abs(float((rest - least).detach())) > 1e-9 * float(number))  # at a tie each slope is one of two
    return torch.maximum(rest, least)
