"""`Pairs` written out, a block of queries at a time: which key is near, which far, which neither."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.pairs import Pairs


@dataclass(frozen=True)
class Sides:
    """near, far: (b, v) bool, of b queries and v distinct keys."""

    near: Tensor
    far: Tensor


def distinct_keys(pairs: Pairs) -> Tensor:
    """Return the first row of each distinct key, (v,), ascending: keys that share item and scope are one."""
    code = _codes(pairs)[1]  # (m,)
    order = torch.arange(len(code) - 1, -1, -1)
    first = torch.empty(int(code.max()) + 1, dtype=torch.int64).scatter_(0, code.flip(0), order)
    return first.sort().values


def sides(pairs: Pairs, columns: Tensor, start: int, stop: int) -> Sides:
    """Return the sides of queries `start` to `stop` and of some keys (v,).

    Errors: `InputError`: queries, named, without a positive or with fewer than two negatives.
    """
    rows = slice(start, stop)
    near, far = pairs.by_ids((rows, None), columns)  # (b, v)
    if pairs.known is not None:
        query, key = _codes(pairs)
        told = query[pairs.known.rows]  # (e,)
        i, entry = (query[rows, None] == told).nonzero(as_tuple=True)
        # every copy of a key stands in one column: the place of its code among those kept
        place = torch.empty(int(key.max()) + 1, dtype=torch.int64)
        place[key[columns]] = torch.arange(len(columns))
        j, weight = place[key[pairs.known.columns[entry]]], pairs.known.weight[entry]
        near[i, j] = far[i, j] = False
        near[i[weight > 0], j[weight > 0]] = True  # of several weights the largest holds
    _check(near.sum(1) < 1, start, "have no positive")
    _check(far.sum(1) < 2, start, "have fewer than two negatives, so there is nothing to share out")
    return Sides(near, far)


def _codes(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Number the distinct queries (n,) and the distinct keys (m,)."""
    return _code(pairs.query_item, pairs.query_scope), _code(pairs.key_item, pairs.key_scope)


def _code(item: Tensor, scope: Tensor | None) -> Tensor:
    columns = [item] if scope is None else [item, scope]
    code: Tensor = torch.unique(torch.stack(columns), dim=1, return_inverse=True)[1]
    return code


def _check(broken: Tensor, first: int, what: str) -> None:
    if bool(broken.any()):
        rows = (broken.nonzero()[:, 0] + first).tolist()
        raise InputError(f"queries {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''} {what}")
