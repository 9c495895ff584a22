"""The positives and candidates of `Pairs`, one entry at a time. Read this to know what `Pairs` says."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs import Pairs


def relation(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the weights of the positives (n, m), 0 elsewhere, and which entries are candidates (n, m)."""
    n, m = pairs.shape
    scopes = None
    if pairs.query_scope is not None and pairs.key_scope is not None:
        scopes = pairs.query_scope, pairs.key_scope
    weight, candidate = torch.zeros(n, m, dtype=torch.float64), torch.ones(n, m, dtype=torch.bool)
    for i in range(n):
        for j in range(m):
            if pairs.query_item[i] == pairs.key_item[j] or (scopes is not None and scopes[0][i] != scopes[1][j]):
                candidate[i, j] = False
            elif pairs.query_group[i] == pairs.key_group[j]:
                weight[i, j] = 1.0
    if pairs.known is not None:
        known: dict[tuple[int, int], float] = {}
        for r, c, w in zip(pairs.known.rows, pairs.known.columns, pairs.known.weight, strict=True):
            for i in copies(pairs.query_item, pairs.query_scope, int(r)):
                for j in copies(pairs.key_item, pairs.key_scope, int(c)):
                    known[i, j] = max(known.get((i, j), 0.0), float(w))
        for (i, j), w in known.items():
            weight[i, j], candidate[i, j] = w, w > 0
    return weight, candidate


def copies(item: Tensor, scope: Tensor | None, row: int) -> list[int]:
    """Return the rows that are copies of a row, itself among them."""
    return [r for r in range(len(item)) if item[r] == item[row] and (scope is None or scope[r] == scope[row])]
