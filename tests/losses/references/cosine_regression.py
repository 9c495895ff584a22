from __future__ import annotations

from typing import Any

from torch import Tensor

from nearfar.losses.cosine_regression import CosineRegression
from nearfar.pairs import Pairs
from tests.losses.references import positives, total

VARIANTS: list[dict[str, Any]] = [{}]
QUERIES_COUNT_ONCE = True
KEYS_STOPPED = True


def reference(loss: CosineRegression, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    return total([w * (2 - 2 * (q[i] * k[j].detach()).sum()) for i, j, w in positives(pairs)], q)
