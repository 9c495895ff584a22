"""Who is near and far, as it is written on paper: one entry at a time. Read this to know what `Pairs` says."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs import Pairs


def relation(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return near weights (n, m) and candidates (n, m), entry by entry."""
    n, m = pairs.shape
    near, candidate = torch.zeros(n, m, dtype=torch.float64), torch.ones(n, m, dtype=torch.bool)
    for i in range(n):
        for j in range(m):
            other_scope = pairs.query_scope is not None and pairs.query_scope[i] != pairs.key_scope[j]
            if pairs.query_item[i] == pairs.key_item[j] or other_scope:
                candidate[i, j] = False
            elif pairs.query_group[i] == pairs.key_group[j]:
                near[i, j] = 1.0
    if pairs.known is not None:
        said: dict[tuple[int, int], float] = {}
        for r, c, w in zip(pairs.known.rows, pairs.known.columns, pairs.known.weight, strict=True):
            for i in copies(pairs.query_item, pairs.query_scope, int(r)):
                for j in copies(pairs.key_item, pairs.key_scope, int(c)):
                    said[i, j] = max(said.get((i, j), 0.0), float(w))
        for (i, j), w in said.items():
            near[i, j], candidate[i, j] = w, w > 0
    return near, candidate


def copies(item: Tensor, scope: Tensor | None, row: int) -> list[int]:
    return [r for r in range(len(item)) if item[r] == item[row] and (scope is None or scope[r] == scope[row])]
