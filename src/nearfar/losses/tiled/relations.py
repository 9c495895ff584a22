"""Relations: the ids of `Pairs`, resolved once a batch into the short index lists that the tiled losses read."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nearfar.pairs import Known, Pairs

Entries = tuple[Tensor, Tensor]  # (e,) int64 query rows, (e,) int64 key rows
LIST_LIMIT = 8  # a list holds at most this many times n + m entries; what would be longer, the tiles compare by ids


@dataclass(frozen=True)
class Relations:
    """The positives, negatives and ignored entries of a batch, and what each row counts.

    `positives` lists the positives, `positive_weight` their weights. `compare_groups` says that this list would be too
    long (few large groups): then it holds only those of `known`, and the tiles compare group ids to find the others.
    `negatives` lists the negatives where scopes make them few; where it is None they are all entries of one scope that
    are not positive and not ignored. `ignored` lists what is ignored inside a scope; `compare_items` says that this
    list would be too long: then it holds only those of `known`, and the tiles compare item ids. `known` holds the
    overrides for all copies. A share is one over a row's number of copies, None where no row has a copy.
    """

    pairs: Pairs
    known: Known
    positives: Entries
    positive_weight: Tensor  # (e,)
    compare_groups: bool
    negatives: Entries | None
    ignored: Entries
    compare_items: bool
    query_share: Tensor | None  # (n,) float64
    key_share: Tensor | None  # (m,) float64

    @classmethod
    def of(cls, pairs: Pairs, *, list_all: bool = False) -> Relations:
        """Resolve pairs, once for each object. list_all: list the positives however many they are."""
        resolved: dict[Any, Relations] = pairs.__dict__.setdefault("_resolved", {})  # lives as long as the pairs
        ids = [ids for field in fields(pairs) if isinstance(ids := getattr(pairs, field.name), Tensor)]
        key = LIST_LIMIT, list_all, *(tensor._version for tensor in ids)  # a change in place raises the version
        if key not in resolved:
            uncached = copy(pairs)  # refers to no cache, so no reference cycle keeps both in memory
            del uncached.__dict__["_resolved"]
            resolved[key] = cls._resolved(uncached, LIST_LIMIT * sum(pairs.shape), list_all)
        return resolved[key]

    @classmethod
    def _resolved(cls, pairs: Pairs, limit: int, list_all: bool) -> Relations:
        n, m = pairs.shape
        query_copies, key_copies = joint_ids(pairs, "item", "scope")
        known = _known_of_copies(pairs, query_copies, key_copies)
        same_item = join(pairs.query_item, pairs.key_item, limit)
        same_group = join(*joint_ids(pairs, "group", "scope"), n * m if list_all else limit)
        none = known.rows[:0], known.rows[:0]
        listed = same_group or none
        if same_group is not None and (same_item is None or len(same_item[0])):
            listed = _select(same_group, pairs.query_item[same_group[0]] != pairs.key_item[same_group[1]])
        positives, weight = _override(listed, known, m, known.weight > 0)
        ignored, _ = _override(same_item or none, known, m, known.weight == 0)
        complete = same_item is not None and same_group is not None
        return cls(
            pairs=pairs,
            known=known,
            positives=positives,
            positive_weight=weight,
            compare_groups=same_group is None,
            negatives=_negatives_in_scopes(pairs, (positives, ignored), limit) if complete else None,
            ignored=ignored,
            compare_items=same_item is None,
            query_share=_share(query_copies),
            key_share=_share(key_copies),
        )

    @cached_property
    def transposed(self) -> Relations:
        """The same relations with queries and keys exchanged, for the key-to-query direction."""
        return Relations(
            pairs=self.pairs.transposed,
            known=Known(self.known.columns, self.known.rows, self.known.weight),
            positives=self.positives[::-1],
            positive_weight=self.positive_weight,
            compare_groups=self.compare_groups,
            negatives=None if self.negatives is None else self.negatives[::-1],
            ignored=self.ignored[::-1],
            compare_items=self.compare_items,
            query_share=self.key_share,
            key_share=self.query_share,
        )

    @cached_property
    def one_positive_each(self) -> bool:
        """Whether each query has exactly one listed positive, and the list is in the order of the queries."""
        i, n = self.positives[0], self.pairs.shape[0]
        return len(i) == n and bool((i == torch.arange(n, device=i.device)).all())

    @cached_property
    def diagonal(self) -> bool:
        """Whether key i is the one listed positive of query i, for all i."""
        return self.one_positive_each and torch.equal(*self.positives)

    @cached_property
    def simple(self) -> bool:
        """Whether each query has one positive, each key is that of one query at most, and there are no copies, no
        scopes and no ids to compare."""
        unshared = self.query_share is None and self.key_share is None and self.pairs.query_scope is None
        if not unshared or self.compare_groups or self.compare_items or not self.one_positive_each:
            return False
        return bool((torch.bincount(self.positives[1]) <= 1).all())

    @cached_property
    def symmetric(self) -> bool:
        """Whether (i, j) and (j, i) are always related alike: queries and keys have the same ids, nothing is known."""
        p = self.pairs
        ids = [(p.query_group, p.key_group), (p.query_item, p.key_item), (p.query_scope, p.key_scope)]
        same = p.shape[0] == p.shape[1] and all(
            a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in ids
        )
        return same and len(self.known.rows) == 0

    def of_queries(self, rows: slice) -> Relations:
        """Return the relations of some queries to all keys, as the tiles need them: shares stay those of the batch."""
        if (rows.start, rows.stop) == (0, self.pairs.shape[0]):
            return self
        return replace(
            self,
            pairs=_pairs_of_queries(self.pairs, rows),
            known=Known(*_entries_of_queries((self.known.rows, self.known.columns, self.known.weight), rows)),
            positives=_entries_of_queries(self.positives, rows),
            positive_weight=_entries_of_queries((*self.positives, self.positive_weight), rows)[2],
            negatives=None if self.negatives is None else _entries_of_queries(self.negatives, rows),
            ignored=_entries_of_queries(self.ignored, rows),
            query_share=None if self.query_share is None else self.query_share[rows],
        )

    def to(self, device: Any) -> Relations:
        """Return the same relations on another device."""
        if self.pairs.query_group.device == torch.device(device):
            return self
        return Relations(**{f.name: _to_device(getattr(self, f.name), device) for f in fields(self)})


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


def joint_ids(pairs: Pairs, *names: str) -> Entries:
    """Return ids of queries (n,) and keys (m,) that are equal where all ids of these names ("group", ...) are."""
    given = [(q, getattr(pairs, f"key_{name}")) for name in names if (q := getattr(pairs, f"query_{name}")) is not None]
    if len(given) == 1:
        return given[0]
    n = pairs.shape[0]
    joint = torch.zeros(sum(pairs.shape), dtype=torch.int64, device=pairs.query_group.device)
    for query, key in given:
        distinct, place = torch.unique(torch.cat([query, key]), return_inverse=True)
        joint = torch.unique(joint * len(distinct) + place, return_inverse=True)[1]
    return joint[:n], joint[n:]


def _share(ids: Tensor) -> Tensor | None:
    """Return one over the number of rows with a row's id, (n,) float64; None where all ids are distinct."""
    ordered = torch.sort(ids)[0]
    if not bool((ordered[1:] == ordered[:-1]).any()):
        return None
    _, place, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    share: Tensor = 1.0 / counts[place].double()
    return share


def _known_of_copies(pairs: Pairs, query_copies: Tensor, key_copies: Tensor) -> Known:
    """Return `pairs.known` for every copy of its queries and keys; of several weights the largest holds.

    query_copies (n,), key_copies (m,): ids that copies share.
    """
    known, m = pairs.known, pairs.shape[1]
    if known is None or len(known.rows) == 0:
        empty = pairs.query_group[:0]
        return Known(empty, empty, torch.empty(0, device=empty.device))
    unlimited = len(known.rows) * (len(query_copies) + 1) * (len(key_copies) + 1)
    with_queries = join(query_copies[known.rows], query_copies, unlimited)
    assert with_queries is not None
    entry, rows = with_queries  # of `known`; the copies of its query
    with_keys = join(key_copies[known.columns[entry]], key_copies, unlimited)
    assert with_keys is not None
    place, columns = with_keys  # in `entry` and `rows`; the copies of the key
    cells, cell = torch.unique(rows[place] * m + columns, return_inverse=True)
    weight = known.weight[entry[place]]
    largest = torch.zeros(len(cells), dtype=weight.dtype, device=weight.device).scatter_reduce(0, cell, weight, "amax")
    return Known(cells // m, cells % m, largest)


def _override(entries: Entries, known: Known, m: int, which: Tensor) -> tuple[Entries, Tensor]:
    """Return the entries without those in `known`, then the `which` (bool) of `known`; and all their weights, (e,)."""
    if len(known.rows) == 0:
        return entries, torch.ones_like(entries[0], dtype=known.weight.dtype)
    entries = _select(entries, ~torch.isin(entries[0] * m + entries[1], known.rows * m + known.columns))
    weight = torch.cat([torch.ones_like(entries[0], dtype=known.weight.dtype), known.weight[which]])
    return (torch.cat([entries[0], known.rows[which]]), torch.cat([entries[1], known.columns[which]])), weight


def _negatives_in_scopes(pairs: Pairs, others: tuple[Entries, ...], limit: int) -> Entries | None:
    """List what shares a scope and is not among `others`; None without scopes, or where the list would be too long."""
    if pairs.query_scope is None or pairs.key_scope is None:
        return None
    candidates = join(pairs.query_scope, pairs.key_scope, limit)
    if candidates is None:
        return None
    m = pairs.shape[1]
    excluded = torch.cat([i * m + j for i, j in others])
    return _select(candidates, ~torch.isin(candidates[0] * m + candidates[1], excluded))


def _select(entries: Entries, which: Tensor) -> Entries:
    return entries[0][which], entries[1][which]


def _entries_of_queries(entries: tuple[Tensor, ...], rows: slice) -> Any:
    """Return the entries of some query rows, which are then counted from the first of these."""
    inside = (entries[0] >= rows.start) & (entries[0] < rows.stop)
    return entries[0][inside] - rows.start, *(other[inside] for other in entries[1:])


def _pairs_of_queries(pairs: Pairs, rows: slice) -> Pairs:
    scope = None if pairs.query_scope is None else pairs.query_scope[rows]
    return Pairs(
        pairs.query_group[rows], pairs.query_item[rows], pairs.key_group, pairs.key_item, scope, pairs.key_scope
    )


def _to_device(value: Any, device: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(part.to(device) for part in value)
    if isinstance(value, Known):
        return Known(value.rows.to(device), value.columns.to(device), value.weight.to(device))
    return value.to(device) if isinstance(value, Tensor | Pairs) else value
