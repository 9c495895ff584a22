"""Alignment and uniformity, one pair at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.errors import InputError
from nearfar.pairs import Pairs
from tests.losses.naive import relation
from tests.losses.references.infonce import shares

VARIANTS: list[dict[str, Any]] = [{}, {"weight": 0.3, "t": 0.7, "tile": 3}]


def reference(loss: Any, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    q, k = normalize(q, dim=1), normalize(k, dim=1)
    weights, _ = relation(pairs)
    a, b = shares(pairs.key_item, pairs.key_scope), shares(pairs.query_item, pairs.query_scope)
    total, count = q.new_zeros(()), 0.0
    for i, j in (weights > 0).nonzero().tolist():
        w = float(weights[i, j] * a[j] * b[i])
        total, count = total + w * (q[i] - k[j]).square().sum(), count + w
    spread = uniformity(loss.t, q, pairs.query_item, pairs.query_scope, b)
    spread = spread + uniformity(loss.t, k, pairs.key_item, pairs.key_scope, a)
    found: Tensor = total / count + loss.weight * spread / 2
    return found


def uniformity(t: float, x: Tensor, item: Tensor, scope: Tensor | None, share: Tensor) -> Tensor:
    total, count = x.new_zeros(()), 0.0
    for i in range(len(x)):
        for j in range(i):
            if item[i] != item[j] and (scope is None or scope[i] == scope[j]):
                total = total + share[i] * share[j] * torch.exp(-t * (x[i] - x[j]).square().sum())
                count += float(share[i] * share[j])
    if count == 0:
        raise InputError("nothing to spread")
    return (total / count).log()
