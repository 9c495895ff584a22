"""The tiles of a similarity matrix S = q k': every pairwise loss traverses the matrix tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar.compute.fp32_products import add_product, product
from nearfar.losses.tiled.relations import Entries, Relations

KEPT_BYTES = 16 << 20  # of exponentials that the forward pass keeps for the backward pass, which recomputes the rest
# Up to here exp(|S|) and its sums over millions of terms stay well inside a type's range: no shift by the maximum.
UNSHIFTED_LIMIT = {torch.float32: 60.0, torch.bfloat16: 60.0, torch.float64: 300.0}
BF16_LIMIT = 50.0  # of |S|: beyond, the rounding of a bf16 logit (2^-9 of it) distorts the gradient
Candidates = Literal["negatives", "positives", "both"]  # what tiles hold; listed positives are masked in all of them


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep over the tiles needs beside the vectors.

    candidates: which entries count: the negatives, the positives that are not listed (`Relations.compare_groups`), or
    both. key_to_query: column sums are wanted, too. tile: the side of a tile. dtype: of the products. unshifted: a tile
    holds exp(S), which is small enough to sum without a shift by the maximum; else it holds S. self_similarity: q is k
    and S symmetric, so that only the tiles on and above the diagonal are computed. row_limit (n,), column_limit (m,):
    an entry of S above is no candidate in the sum of its row, of its column. read_positives: read S at the listed
    positives from the tiles, whose products are exact enough.
    """

    relations: Relations
    candidates: Candidates
    key_to_query: bool
    tile: int
    dtype: torch.dtype
    unshifted: bool
    self_similarity: bool = False
    row_limit: Tensor | None = None
    column_limit: Tensor | None = None
    read_positives: bool = False


class Tile(NamedTuple):
    """A tile of S: its rows and columns, its entries s (r, c), and which of them lie above a limit, (r, c) or None."""

    rows: slice
    columns: slice
    s: Tensor
    above_row_limit: Tensor | None
    above_column_limit: Tensor | None


class Sweep:
    """The tiles of S, one after the other, in the forward pass and again in the backward pass.

    q: (n, d) queries times the scale; k: (m, d) keys.
    """

    def __init__(self, q: Tensor, k: Tensor, plan: SweepPlan) -> None:
        self.plan = plan
        self.q = q.to(plan.dtype)  # (n, d)
        self.k = self.q if plan.self_similarity else k.to(plan.dtype)  # (m, d)
        self.exact = torch.promote_types(plan.dtype, torch.float32)  # the type of sums
        self.mask = Mask(plan)
        shares = plan.relations.key_share, plan.relations.query_share
        self.a, self.b = (None if share is None else share.to(self.exact) for share in shares)  # (m,), (n,)
        self.kept: dict[tuple[int, int], Tensor] = {}  # the first tiles' exponentials, up to KEPT_BYTES

    def zeros(self) -> tuple[Tensor, Tensor]:
        """Return zeros for rows (n,) and columns (m,); for self-similarity both are one tensor."""
        rows = self.q.new_zeros(len(self.q), dtype=self.exact)
        if self.plan.self_similarity:
            return rows, rows
        return rows, rows.new_zeros(len(self.k) if self.plan.key_to_query else 0)

    def counts_columns(self, tile: Tile) -> bool:
        """Return whether the sums of a tile's columns are wanted, too.

        For self-similarity these sums belong to the tile's mirror below the diagonal, which is not computed.
        """
        return tile.rows != tile.columns if self.plan.self_similarity else self.plan.key_to_query

    def row_sums(self, e: Tensor, tile: Tile) -> Tensor:
        """Return the sum of each row of e (r, c), weighted by the keys' shares, (r,)."""
        e = e if tile.above_row_limit is None else e.masked_fill(tile.above_row_limit, 0.0)
        return e.sum(1, dtype=self.exact) if self.a is None else e.to(self.exact) @ self.a[tile.columns]

    def column_sums(self, e: Tensor, tile: Tile) -> Tensor:
        """Return the sum of each column of e (r, c), weighted by the queries' shares, (c,)."""
        e = e if tile.above_column_limit is None else e.masked_fill(tile.above_column_limit, 0.0)
        return e.sum(0, dtype=self.exact) if self.b is None else self.b[tile.rows] @ e.to(self.exact)

    def tiles(self, *, keep: bool = False, positives: Tensor | None = None) -> Iterator[Tile]:
        """Yield all tiles: S, minus infinity where there is no candidate; or if unshifted exp(S), which is 0 there.

        The caller may overwrite a tile, and the next one does. keep: keep what KEPT_BYTES can hold of the exponentials
        for the next sweep. positives: (e,) is filled with S at the listed positives.
        """
        size, unshifted = self.plan.tile, self.plan.unshifted
        scratch = self.q.new_empty(min(size, len(self.q)) * min(size, len(self.k)))
        limited = self.plan.row_limit is not None or self.plan.column_limit is not None
        spare = KEPT_BYTES // scratch.element_size() if keep and unshifted and not limited else 0  # entries to keep
        for top in range(0, len(self.q), size):
            rows = slice(top, min(top + size, len(self.q)))
            for left in range(top if self.plan.self_similarity else 0, len(self.k), size):
                columns = slice(left, min(left + size, len(self.k)))
                if (top, left) in self.kept:
                    yield Tile(rows, columns, self.kept.pop((top, left)), None, None)
                    continue
                shape = rows.stop - rows.start, columns.stop - columns.start
                spare -= shape[0] * shape[1]
                s = self.q.new_empty(shape) if spare >= 0 else scratch[: shape[0] * shape[1]].view(shape)  # (r, c)
                s = product(self.q[rows], self.k[columns], s)
                above = self._above_limits(s, rows, columns) if limited else (None, None)
                if positives is not None and self.mask.positives is not None:
                    i, j, place = self.mask.positives.within(rows, columns)
                    positives[place] = s[i, j]
                if unshifted:
                    self.mask.fill(s.exp_(), rows, columns, 0.0)
                else:
                    self.mask.fill(s, rows, columns, -torch.inf)
                if spare >= 0:
                    self.kept[top, left] = s
                yield Tile(rows, columns, s, *above)

    def _above_limits(self, s: Tensor, rows: slice, columns: slice) -> tuple[Tensor | None, Tensor | None]:
        """Return which entries lie above the limit of their row, and of their column, (r, c) each."""
        by_row, by_column = self.plan.row_limit, self.plan.column_limit
        above_row_limit = None if by_row is None else s > by_row[rows][:, None]
        return above_row_limit, None if by_column is None else s > by_column[columns]


class Mask:
    """Masks the entries of each tile that are no candidates."""

    def __init__(self, plan: SweepPlan) -> None:
        relations, pairs = plan.relations, plan.relations.pairs
        (i, j), (positive_i, positive_j) = relations.ignored, relations.positives
        some = len(i) + len(positive_i) > 0
        self.listed = _EntriesByTile((torch.cat([i, positive_i]), torch.cat([j, positive_j])), plan) if some else None
        self.scopes = None if pairs.query_scope is None else (pairs.query_scope, pairs.key_scope)
        self.items = (pairs.query_item, pairs.key_item) if relations.compare_items else None
        by_group = relations.compare_groups and plan.candidates != "both"
        self.groups = (pairs.query_group, pairs.key_group) if by_group else None
        self.only_positives = plan.candidates == "positives"
        self.positives = (
            _EntriesByTile(_in_computed_tiles(relations.positives, plan), plan) if plan.read_positives else None
        )

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> None:
        """Write `value` where a tile's entries are no candidates."""
        masks = []
        if self.scopes is not None and self.scopes[1] is not None:
            masks.append(self.scopes[0][rows][:, None] != self.scopes[1][columns])
        if self.items is not None:
            masks.append(self.items[0][rows][:, None] == self.items[1][columns])
        if self.groups is not None:
            same = self.groups[0][rows][:, None] == self.groups[1][columns]
            masks.append(~same if self.only_positives else same)
        for mask in masks:
            tile.masked_fill_(mask, value)
        if self.listed is not None:
            i, j, _ = self.listed.within(rows, columns)
            if len(i):
                tile[i, j] = value


def _in_computed_tiles(entries: Entries, plan: SweepPlan) -> Entries:
    """Return the entries, those below the diagonal mirrored where the tiles there are not computed."""
    return (torch.minimum(*entries), torch.maximum(*entries)) if plan.self_similarity else entries


class _EntriesByTile:
    """A list of entries of S, sorted by the tile that they lie in."""

    def __init__(self, entries: Entries, plan: SweepPlan) -> None:
        self.tile = plan.tile
        n, m = plan.relations.pairs.shape
        down, self.across = -(-n // plan.tile), -(-m // plan.tile)  # the numbers of tiles
        self.rows, self.columns = entries
        self.order: Tensor | None = None  # places in the list as it was given; None for one tile, which sorts nothing
        self.edges = [0, len(self.rows)]  # tile t has the sorted entries from edges[t] to edges[t + 1]
        if down * self.across > 1:
            tile = entries[0] // plan.tile * self.across + entries[1] // plan.tile
            tile, self.order = torch.sort(tile, stable=True)
            self.rows, self.columns = entries[0][self.order], entries[1][self.order]
            edges = torch.arange(down * self.across + 1, device=tile.device)
            self.edges = torch.searchsorted(tile, edges).tolist()

    def within(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor | slice]:
        """Return the entries of a tile, counted from its corner, and their places in the list as it was given."""
        tile = rows.start // self.tile * self.across + columns.start // self.tile
        part = slice(self.edges[tile], self.edges[tile + 1])
        if self.order is None:
            return self.rows, self.columns, part
        return self.rows[part] - rows.start, self.columns[part] - columns.start, self.order[part]


def accumulate_gradients(grad_q: Tensor, grad_k: Tensor, ds: Tensor, q: Tensor, k: Tensor, tile: Tile) -> None:
    """Add a tile's part of dL/dq (n, d) and dL/dk (m, d) in place, given its dL/dS (r, c).

    Products are in the type of q and k, sums in that of the gradients.
    """
    if grad_q.dtype == q.dtype:
        add_product(grad_q[tile.rows], ds, k[tile.columns].T)
        add_product(grad_k[tile.columns], ds.T, q[tile.rows].T)
    else:
        grad_q[tile.rows] += ds @ k[tile.columns]
        grad_k[tile.columns] += ds.T @ q[tile.rows]


def arithmetic(q: Tensor, k: Tensor, precision: str) -> tuple[torch.dtype, bool]:
    """Return the type of the tiles' products, and whether exp(S) may be summed without a shift by the maximum.

    precision: "fp32", "bf16", or "auto": bf16 if it is exact enough for these vectors. float64 stays float64.
    """
    bound = float(q.detach().norm(dim=1).amax() * k.detach().norm(dim=1).amax())  # of every |S|, Cauchy-Schwarz
    dtype = q.dtype
    if dtype != torch.float64 and (precision == "bf16" or (precision == "auto" and bound <= BF16_LIMIT)):
        dtype = torch.bfloat16
    return dtype, bound <= UNSHIFTED_LIMIT[dtype]
