"""InfoNCE with its variants, one query at a time."""

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
    weights, candidate = relation(pairs)
    c = q @ k.T  # (n, m)
    a = shares(pairs.key_item, pairs.key_scope).to(q.dtype)
    b = shares(pairs.query_item, pairs.query_scope).to(q.dtype)
    query_to_key = one_direction(loss, c, weights, candidate, a, torch.ones_like(b))
    if not loss.symmetric:
        return query_to_key
    return (query_to_key + one_direction(loss, c.T, weights.T, candidate.T, b, a)) / 2


def shares(item: Tensor, scope: Tensor | None) -> Tensor:
    """One over the number of each row's copies."""
    return torch.tensor([1 / len(copies(item, scope, row)) for row in range(len(item))], dtype=torch.float64)


def one_direction(loss: Any, c: Tensor, weights: Tensor, candidate: Tensor, share: Tensor, anchor: Tensor) -> Tensor:
    """The loss of the rows of the cosines c (n, m); weights: (n, m) of positives; anchor: (n,) of each row's loss."""
    rows = [i for i in range(len(c)) if bool((weights[i] > 0).any())]
    scale = torch.as_tensor(loss.scale.value(c.dtype), dtype=c.dtype)
    p = {i: weights[i].to(c.dtype) * share / (weights[i].to(c.dtype) @ share) for i in rows}  # weights of the positives
    factor = dict.fromkeys(rows, 1.0)
    if loss.decoupled == "weighted":
        exps = {i: math.exp(float((p[i] @ c[i]).detach()) / loss.sigma) for i in rows}
        mean = sum(float(anchor[i]) * exps[i] for i in rows) / sum(float(anchor[i]) for i in rows)
        factor = {i: 2 - exps[i] / mean for i in rows}
    total = c.new_zeros(())
    for i in rows:
        positive = weights[i] > 0
        lowest = float(c[i][positive].min().detach())
        negative = candidate[i] & ~positive
        if loss.false_negatives is not None:
            margin = loss.false_negatives * (abs(lowest) if loss.relative else 1.0)
            assume(float((c[i].detach() - lowest - margin).abs().min()) > 1e-9)  # rounding would decide
            negative = negative & (c[i].detach() <= lowest + margin)
        s = scale * c[i]  # (m,)
        repulsion = negatives(loss, s[negative], share[negative], (p[i] * s.exp()).sum(), scale)
        attraction = (p[i] * s.exp()).sum().log() if loss.positives == "inside" else p[i] @ s
        attraction = attraction - loss.margin * scale
        if loss.decoupled:
            log_repulsion = repulsion.log() if bool(negative.any()) else c.new_zeros(())
        else:
            log_repulsion = (repulsion + (share * (s - loss.margin * scale).exp())[positive].sum()).log()
        total = total + anchor[i] * (log_repulsion - factor[i] * attraction)
    return total / sum(anchor[i] for i in rows)


def negatives(loss: Any, s: Tensor, share: Tensor, positives: Tensor, scale: Tensor) -> Tensor:
    """The weighted sum of the negatives' exponentials; positives: the mean of the positives' exponentials."""
    if len(s) == 0:
        return s.new_zeros(())
    number = share.sum()
    weight = share * (loss.hardness * s).exp()
    summed = number * (weight * s.exp()).sum() / weight.sum() if loss.hardness else (share * s.exp()).sum()
    if not loss.debiasing:
        return summed
    rest = (summed - number * loss.debiasing * positives) / (1 - loss.debiasing)
    least = number * (-scale).exp()
    assume(abs(float((rest - least).detach())) > 1e-9 * float(number))  # at a tie either gradient is right
    return torch.maximum(rest, least)
