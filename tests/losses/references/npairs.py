"""N-pairs, one query at a time."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nearfar.pairs import Pairs
from tests.losses.references import infonce
from tests.losses.references.infonce import shares

VARIANTS: list[dict[str, Any]] = [{}, {"l2": 0.3, "tile": 3}]


def reference(loss: Any, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    total = infonce.reference(loss.ranking, q, k, pairs)
    for x, item, scope in ((q, pairs.query_item, pairs.query_scope), (k, pairs.key_item, pairs.key_scope)):
        share = shares(item, scope)
        total = total + loss.l2 * sum(share[row] * x[row] @ x[row] for row in range(len(x))) / share.sum()
    return total
