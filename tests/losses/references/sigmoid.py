"""The sigmoid loss, one pair at a time."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nearfar.pairs import Pairs
from tests.losses.naive import relation
from tests.losses.references.infonce import shares

VARIANTS: list[dict[str, Any]] = [{}, {"temperature": 0.5, "bias": -1.0, "tile": 3}, {"bias": 2.0, "tile": 5}]


def reference(loss: Any, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    weights, candidate = relation(pairs)
    a, b = shares(pairs.key_item, pairs.key_scope), shares(pairs.query_item, pairs.query_scope)
    total = q.new_zeros(())
    for i in range(len(q)):
        for j in range(len(k)):
            logit = loss.scale.log.exp() * (q[i] @ k[j]) + loss.bias
            if weights[i, j] > 0:
                total = total - weights[i, j] * a[j] * b[i] * logit.sigmoid().log()
            elif candidate[i, j]:
                total = total - a[j] * b[i] * (-logit).sigmoid().log()
    return total / b.sum()
