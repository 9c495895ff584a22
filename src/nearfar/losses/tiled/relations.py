"""Relations: the ids of `Pairs`, resolved once a batch into the short lists that the tiled engine reads."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nearfar.pairs import Known, Pairs

Entries = tuple[Tensor, Tensor]  # (e,) int64 query rows, (e,) int64 key rows
LIST_LIMIT = 8  # a list may be this many times n + m long


@dataclass(frozen=True)
class Relations:
    """Who is near, who is far, who is ignored, and how often each row counts.

    `near` lists the positives and their weights; `by_class` says that this list would be the size of the matrix (few
    large classes): then it holds the known ones only, and the group ids say the others. `far` lists the negatives where
    scopes make them few, else it is None: all that is neither near, nor `ignored`, nor of another scope, which the
    tiles compare (as they do items, where `ignored` would be too long: `items`). `known` are the overrides, spread over
    copies. A share is one over a row's number of copies, None where no row has a copy.
    """

    pairs: Pairs
    known: Known
    near: Entries
    near_weight: Tensor
    by_class: bool
    far: Entries | None
    ignored: Entries
    items: bool
    query_share: Tensor | None  # (n,)
    key_share: Tensor | None  # (m,)

    @classmethod
    def of(cls, pairs: Pairs, *, list_all: bool = False) -> Relations:
        """Resolve pairs, once an object; list_all: list the positives however many, and leave none to class ids."""
        resolved: dict[Any, Relations] = pairs.__dict__.setdefault("_resolved", {})  # as long as the pairs live
        ids = [ids for field in fields(pairs) if isinstance(ids := getattr(pairs, field.name), Tensor)]
        key = LIST_LIMIT, list_all, *(part._version for part in ids)  # changed in place, they are others
        if key not in resolved:
            alone = copy(pairs)  # no cycle: it goes when the pairs go
            del alone.__dict__["_resolved"]
            resolved[key] = cls._resolved(alone, LIST_LIMIT * sum(pairs.shape), list_all)
        return resolved[key]

    @classmethod
    def _resolved(cls, pairs: Pairs, most: int, list_all: bool) -> Relations:
        n, m = pairs.shape
        copies = codes(pairs, "item", "scope")
        known = _spread(pairs, *copies)
        same = join(pairs.query_item, pairs.key_item, most)
        near = join(*codes(pairs, "group", "scope"), n * m if list_all else most)
        listed = near or (known.rows[:0], known.rows[:0])
        if near is not None and (same is None or len(same[0])):
            listed = _chosen(near, pairs.query_item[near[0]] != pairs.key_item[near[1]])
        listed, weight = _overridden(listed, known, m, known.weight > 0)
        ignored, _ = _overridden(same or (known.rows[:0], known.rows[:0]), known, m, known.weight == 0)
        far = None if same is None or near is None else _negatives_in_scopes(pairs, (listed, ignored), most)
        shares = _share(copies[0]), _share(copies[1])
        return cls(pairs, known, listed, weight, near is None, far, ignored, same is None, *shares)

    @cached_property
    def transposed(self) -> Relations:
        """The way back."""
        return Relations(
            pairs=self.pairs.transposed,
            known=Known(self.known.columns, self.known.rows, self.known.weight),
            near=self.near[::-1],
            near_weight=self.near_weight,
            by_class=self.by_class,
            far=None if self.far is None else self.far[::-1],
            ignored=self.ignored[::-1],
            items=self.items,
            query_share=self.key_share,
            key_share=self.query_share,
        )

    @cached_property
    def in_order(self) -> bool:
        """Whether each query has one listed positive, and the list is in the queries' order."""
        i, n = self.near[0], self.pairs.shape[0]
        return len(i) == n and bool((i == torch.arange(n, device=i.device)).all())

    @cached_property
    def diagonal(self) -> bool:
        """Whether query i has key i as its one listed positive."""
        return self.in_order and torch.equal(*self.near)

    @cached_property
    def simple(self) -> bool:
        """Whether each query has one positive, no key is that of two, nothing has copies and nothing needs a scan."""
        alone = self.query_share is None and self.key_share is None and self.pairs.query_scope is None
        if not alone or self.by_class or self.items or not self.in_order:
            return False
        return bool((torch.bincount(self.near[1]) <= 1).all())

    @cached_property
    def reflexive(self) -> bool:
        """Whether queries and keys have the same ids and nothing else is known: then the relation is symmetric."""
        p = self.pairs
        ids = [(p.query_group, p.key_group), (p.query_item, p.key_item), (p.query_scope, p.key_scope)]
        same = p.shape[0] == p.shape[1] and all(
            a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in ids
        )
        return same and len(self.known.rows) == 0

    def rows(self, part: slice) -> Relations:
        """Return the relations of some queries to all keys, for the tiles: shares stay those of the whole batch."""
        if (part.start, part.stop) == (0, self.pairs.shape[0]):
            return self
        return replace(
            self,
            pairs=_pairs_of(self.pairs, part),
            known=Known(*_within((self.known.rows, self.known.columns, self.known.weight), part)),
            near=_within(self.near, part),
            near_weight=_within((*self.near, self.near_weight), part)[2],
            far=None if self.far is None else _within(self.far, part),
            ignored=_within(self.ignored, part),
            query_share=None if self.query_share is None else self.query_share[part],
        )

    def to(self, device: Any) -> Relations:
        """Return the same relations on another device."""
        if self.pairs.query_group.device == torch.device(device):
            return self
        return Relations(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def join(left: Tensor, right: Tensor, limit: int) -> Entries | None:
    """Return all (i, j) with left[i] == right[j], ordered by i; None where there are more than `limit`."""
    ordered, order = torch.sort(right, stable=True)  # (m,)
    start = torch.searchsorted(ordered, left)  # (n,)
    count = torch.searchsorted(ordered, left, right=True) - start
    total = int(count.sum())
    if total > limit:
        return None
    if total == 0:
        return order[:0], order[:0]
    rows = torch.repeat_interleave(torch.arange(len(left), device=left.device), count)  # (e,)
    first = torch.cumsum(count, 0) - count
    within = torch.arange(total, device=left.device) - first[rows]
    return rows, order[start[rows] + within]


def codes(pairs: Pairs, *names: str) -> Entries:
    """Return ids (n,) and (m,) that are equal where all of some ids are."""
    given = [(q, getattr(pairs, f"key_{name}")) for name in names if (q := getattr(pairs, f"query_{name}")) is not None]
    if len(given) == 1:
        return given[0]
    n = pairs.shape[0]
    found = torch.zeros(sum(pairs.shape), dtype=torch.int64, device=pairs.query_group.device)
    for query, key in given:
        distinct, part = torch.unique(torch.cat([query, key]), return_inverse=True)
        found = torch.unique(found * len(distinct) + part, return_inverse=True)[1]
    return found[:n], found[n:]


def _share(ids: Tensor) -> Tensor | None:
    ordered = torch.sort(ids)[0]
    if not bool((ordered[1:] == ordered[:-1]).any()):
        return None
    _, place, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    share: Tensor = 1.0 / counts[place].double()
    return share


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


def _overridden(entries: Entries, known: Known, m: int, chosen: Tensor) -> tuple[Entries, Tensor]:
    """Drop the entries that `known` speaks of, add its chosen ones; return all with their weights."""
    if len(known.rows) == 0:
        return entries, torch.ones_like(entries[0], dtype=known.weight.dtype)
    entries = _chosen(entries, ~torch.isin(entries[0] * m + entries[1], known.rows * m + known.columns))
    weight = torch.cat([torch.ones_like(entries[0], dtype=known.weight.dtype), known.weight[chosen]])
    return (torch.cat([entries[0], known.rows[chosen]]), torch.cat([entries[1], known.columns[chosen]])), weight


def _negatives_in_scopes(pairs: Pairs, others: tuple[Entries, ...], most: int) -> Entries | None:
    if pairs.query_scope is None or pairs.key_scope is None:
        return None
    candidates = join(pairs.query_scope, pairs.key_scope, most)
    if candidates is None:
        return None
    m = pairs.shape[1]
    taken = torch.cat([i * m + j for i, j in others])
    return _chosen(candidates, ~torch.isin(candidates[0] * m + candidates[1], taken))


def _chosen(entries: Entries, which: Tensor) -> Entries:
    return entries[0][which], entries[1][which]


def _within(entries: tuple[Tensor, ...], part: slice) -> Any:
    """Return the entries whose rows lie in a part, with rows counted from its start."""
    inside = (entries[0] >= part.start) & (entries[0] < part.stop)
    return entries[0][inside] - part.start, *(other[inside] for other in entries[1:])


def _pairs_of(pairs: Pairs, part: slice) -> Pairs:
    scope = None if pairs.query_scope is None else pairs.query_scope[part]
    return Pairs(
        pairs.query_group[part], pairs.query_item[part], pairs.key_group, pairs.key_item, scope, pairs.key_scope
    )


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(part.to(device) for part in value)
    if isinstance(value, Known):
        return Known(value.rows.to(device), value.columns.to(device), value.weight.to(device))
    return value.to(device) if isinstance(value, Tensor | Pairs) else value
