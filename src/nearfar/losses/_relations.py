"""Relations: the ids of `Pairs`, resolved once a batch into the short lists that the tiled engine reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from nearfar.pairs import Known, Pairs

Entries = tuple[Tensor, Tensor]  # (e,) int64 query rows, (e,) int64 key rows

LIST_LIMIT = 8  # a list of positives may be this many times n + m long


@dataclass(frozen=True)
class Relations:
    """Who is near, who is ignored, and how often each row counts.

    `near` lists the positives and their weights. It is None where few large classes make a list the size of the
    matrix; then the group ids say it. `ignored` is what is neither near nor far, but for scopes, which are compared
    tile by tile (as are items, where `ignored` would be too long: `items`). `known` are the overrides, spread over
    copies. A share is one over a row's number of copies, None where no row has a copy.
    """

    pairs: Pairs
    known: Known
    near: Entries | None
    near_weight: Tensor | None
    ignored: Entries
    items: bool
    query_share: Tensor | None  # (n,)
    key_share: Tensor | None  # (m,)

    @classmethod
    def of(cls, pairs: Pairs) -> Relations:
        """Resolve pairs; lists much longer than the batch are left to the tiles."""
        limit = LIST_LIMIT * sum(pairs.shape)
        copies = codes(pairs, "item", "scope")
        known = _spread(pairs, *copies)
        near = join(*codes(pairs, "group", "scope"), limit)
        weight = None
        if near is not None:
            other_item = pairs.query_item[near[0]] != pairs.key_item[near[1]]
            near, weight = _overridden((near[0][other_item], near[1][other_item]), known, pairs, known.weight > 0)
        same = join(pairs.query_item, pairs.key_item, limit)
        nothing = known.rows[:0], known.rows[:0]
        ignored, _ = _overridden(nothing if same is None else same, known, pairs, known.weight == 0)
        return cls(pairs, known, near, weight, ignored, same is None, _share(copies[0]), _share(copies[1]))

    @property
    def transposed(self) -> Relations:
        """The way back."""
        known = Known(self.known.columns, self.known.rows, self.known.weight)
        near = None if self.near is None else self.near[::-1]
        ignored = self.ignored[::-1]
        shares = self.key_share, self.query_share
        return Relations(self.pairs.transposed, known, near, self.near_weight, ignored, self.items, *shares)

    def to(self, device: Any) -> Relations:
        """Return the same relations on another device."""
        return Relations(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def join(left: Tensor, right: Tensor, limit: int) -> Entries | None:
    """Return all (i, j) with left[i] == right[j], ordered by i; None where there are more than `limit`."""
    order = torch.argsort(right, stable=True)  # (m,)
    ordered = right[order]
    start = torch.searchsorted(ordered, left)  # (n,)
    count = torch.searchsorted(ordered, left, right=True) - start
    total = int(count.sum())
    if total > limit:
        return None
    rows = torch.repeat_interleave(torch.arange(len(left), device=left.device), count)  # (e,)
    first = torch.cumsum(count, 0) - count
    within = torch.arange(total, device=left.device) - first[rows]
    return rows, order[start[rows] + within]


def codes(pairs: Pairs, *names: str) -> Entries:
    """Number the distinct combinations of some ids over queries and keys together, (n,) and (m,)."""
    n = pairs.shape[0]
    codes = torch.zeros(sum(pairs.shape), dtype=torch.int64, device=pairs.query_group.device)
    for name in names:
        query, key = getattr(pairs, f"query_{name}"), getattr(pairs, f"key_{name}")
        if query is not None:
            distinct, part = torch.unique(torch.cat([query, key]), return_inverse=True)
            codes = torch.unique(codes * len(distinct) + part, return_inverse=True)[1]
    return codes[:n], codes[n:]


def _share(codes: Tensor) -> Tensor | None:
    counts = torch.bincount(codes)
    return None if len(codes) == 0 or int(counts.max()) == 1 else 1.0 / counts[codes].double()


def _spread(pairs: Pairs, query_codes: Tensor, key_codes: Tensor) -> Known:
    """Give every copy of a query and of a key what is known of one; of several weights the largest holds."""
    known, m = pairs.known, pairs.shape[1]
    if known is None or len(known.rows) == 0:
        empty = pairs.query_group[:0]
        return Known(empty, empty, torch.empty(0, device=empty.device))
    everything = len(known.rows) * (len(query_codes) + 1) * (len(key_codes) + 1)
    by_query = join(query_codes[known.rows], query_codes, everything)
    assert by_query is not None
    entry, rows = by_query
    by_key = join(key_codes[known.columns[entry]], key_codes, everything)
    assert by_key is not None
    again, columns = by_key
    cells, place = torch.unique(rows[again] * m + columns, return_inverse=True)
    weight = known.weight[entry[again]]
    most = torch.zeros(len(cells), dtype=weight.dtype, device=weight.device).scatter_reduce(0, place, weight, "amax")
    return Known(cells // m, cells % m, most)


def _overridden(entries: Entries, known: Known, pairs: Pairs, chosen: Tensor) -> tuple[Entries, Tensor]:
    """Drop the entries that `known` speaks of, add its chosen ones; return all with their weights."""
    if len(known.rows):
        m = pairs.shape[1]
        kept = ~torch.isin(entries[0] * m + entries[1], known.rows * m + known.columns)
        entries = entries[0][kept], entries[1][kept]
    weight = torch.cat([torch.ones_like(entries[0], dtype=known.weight.dtype), known.weight[chosen]])
    return (torch.cat([entries[0], known.rows[chosen]]), torch.cat([entries[1], known.columns[chosen]])), weight


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(part.to(device) for part in value)
    if isinstance(value, Known):
        return Known(value.rows.to(device), value.columns.to(device), value.weight.to(device))
    return value.to(device) if isinstance(value, Tensor | Pairs) else value
