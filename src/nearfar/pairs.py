"""Pairs: which keys of a batch are positives and which are negatives of each query, by ids."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import InputError


@dataclass(frozen=True)
class Known:
    """Sparse relations, each of one query and one key, that override what the ids say.

    rows, columns: (e,) int64, positions of queries and keys; weight: (e,) float, > 0 is a positive of that weight, 0 is
    ignored. A relation holds for every copy of its query and of its key (rows that share item and scope); where copies
    are given different weights, the largest holds.
    """

    rows: Tensor
    columns: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Pairs:
    """The positives and negatives of one batch, by ids of its n queries and m keys.

    Same item                       -> the same thing: ignored.
    Same group, another item        -> a positive.
    Different group                 -> a negative.
    Different scope                 -> ignored (per-query negative lists, data sets kept apart).
    `known` (i, j, weight), sparse  -> overrides the above for one query and one key:
                                       weight > 0 is a positive of that weight; 0 is ignored.

    Ids are run-wide (content hash, or example index with side and view), never positions in a batch, so they mean the
    same across ranks, steps, queues and caches. Keys that share an item are one key and count once; so do queries in
    the key-to-query direction.

    Errors: `InputError` where shapes or types do not fit, or a known relation points outside the batch.
    """

    query_group: Tensor  # (n,) int64
    query_item: Tensor  # (n,) int64
    key_group: Tensor  # (m,) int64
    key_item: Tensor  # (m,) int64
    query_scope: Tensor | None = None  # (n,) int64
    key_scope: Tensor | None = None  # (m,) int64
    known: Known | None = None  # (e,) query rows, (e,) key rows, (e,) float weights

    def __post_init__(self) -> None:
        n, m = self.shape
        sizes = {"query_group": n, "query_item": n, "query_scope": n, "key_group": m, "key_item": m, "key_scope": m}
        for name, size in sizes.items():
            ids = getattr(self, name)
            if ids is not None and (ids.shape != (size,) or ids.dtype != torch.int64):
                raise InputError(f"pairs.{name} must be ({size},) int64, it is {tuple(ids.shape)} {ids.dtype}")
        if (self.query_scope is None) != (self.key_scope is None):
            raise InputError("pairs: give both query_scope and key_scope, or none")
        if self.known is not None:
            self._check_known(self.known)

    def _check_known(self, known: Known) -> None:
        n, m = self.shape
        if not known.rows.shape == known.columns.shape == known.weight.shape or known.rows.ndim != 1:
            raise InputError("pairs.known: rows, columns and weight must be three vectors of one length")
        for name, ids, size in (("rows", known.rows, n), ("columns", known.columns, m)):
            if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < size):
                raise InputError(f"pairs.known.{name} must lie in 0..{size - 1}, they reach {int(ids.max())}")
        bad = ~(torch.isfinite(known.weight) & (known.weight >= 0))
        if bool(bad.any()):
            raise InputError(f"pairs.known.weight must be finite and >= 0; entry {int(bad.nonzero()[0])} is not")

    @classmethod
    def aligned(cls, n: int) -> Pairs:
        """Return the pairs in which key i is the only positive of query i."""
        rows = torch.arange(n)
        return cls(query_group=rows, query_item=rows, key_group=rows, key_item=rows + n)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of queries and keys."""
        return len(self.query_group), len(self.key_group)

    def by_ids(self, i: Any, j: Any) -> tuple[Tensor, Tensor]:
        """Return the masks of the positives and of the negatives by the ids alone, without `known`.

        i, j: indices of queries and of keys, of shapes that broadcast; both masks are bool, of the broadcast shape.
        """
        candidate = self.query_item[i] != self.key_item[j]
        if self.query_scope is not None and self.key_scope is not None:
            candidate &= self.query_scope[i] == self.key_scope[j]
        same_group = self.query_group[i] == self.key_group[j]
        return same_group & candidate, ~same_group & candidate

    def to(self, device: Any) -> Pairs:
        """Return the same pairs on another device."""
        ids = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        result = replace(self, **{name: tensor.to(device) for name, tensor in ids.items()})
        if self.known is None:
            return result
        known = Known(self.known.rows.to(device), self.known.columns.to(device), self.known.weight.to(device))
        return replace(result, known=known)

    @property
    def transposed(self) -> Pairs:
        """The same pairs with queries and keys exchanged, for the key-to-query direction."""
        known = None if self.known is None else Known(self.known.columns, self.known.rows, self.known.weight)
        return Pairs(
            self.key_group, self.key_item, self.query_group, self.query_item, self.key_scope, self.query_scope, known
        )
