"""The tiles of a similarity matrix, one after the other: what every pairwise loss is swept over by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar.losses.tiled.relations import Entries, Relations

KEPT_BYTES = 16 << 20  # exponentials kept from the way forth for the way back: a small batch is not computed twice
# exp(|S|) and its sums over millions of terms stay far inside a type's range up to here: no shift by the maximum
DIRECT = {torch.float32: 60.0, torch.bfloat16: 60.0, torch.float64: 300.0}
BF16_LIMIT = 50.0  # beyond, the rounding of a bf16 logit (2^-9 of it) bends the gradient too far
PairLists = Literal["far", "near", "both"]  # which candidates; the listed positives are never in the tiles
PRECISIONS = ("auto", "bf16", "fp32")


class Tile(NamedTuple):
    """Part of S: its place, its entries (r, c), and which of these its rows or columns leave out, (r, c) or None."""

    rows: slice
    columns: slice
    s: Tensor
    over_row: Tensor | None
    over_column: Tensor | None


class Sweep:
    """The tiles of one matrix, forth and back."""

    def __init__(self, z: Tensor, k: Tensor, plan: SweepPlan) -> None:
        self.plan = plan
        self.z = z.to(plan.dtype)  # (n, d)
        self.k = self.z if plan.itself else k.to(plan.dtype)  # (m, d)
        self.exact = torch.promote_types(plan.dtype, torch.float32)  # sums are at least fp32
        self.mask = Mask(plan)
        shares = plan.relations.key_share, plan.relations.query_share
        self.a, self.b = (None if share is None else share.to(self.exact) for share in shares)
        self.kept: dict[tuple[int, int], Tensor] = {}  # the first tiles' exponentials, as many as KEPT_BYTES hold

    def zeros(self) -> tuple[Tensor, Tensor]:
        """Return zeros for rows (n,) and columns (m,); for a matrix with itself they are one vector."""
        rows = self.z.new_zeros(len(self.z), dtype=self.exact)
        return rows, rows if self.plan.itself else rows.new_zeros(len(self.k) if self.plan.columns else 0)

    def sideways(self, tile: Tile) -> bool:
        """Say whether a tile counts for its columns: on the way back, or mirrored (the diagonal is its own mirror)."""
        return tile.rows != tile.columns if self.plan.itself else self.plan.columns

    def by_row(self, e: Tensor, tile: Tile) -> Tensor:
        """Return the sums over a tile's rows, (r,)."""
        e = e if tile.over_row is None else e.masked_fill(tile.over_row, 0.0)
        return e.sum(1, dtype=self.exact) if self.a is None else e.to(self.exact) @ self.a[tile.columns]

    def by_column(self, e: Tensor, tile: Tile) -> Tensor:
        """Return the sums over a tile's columns, (c,)."""
        e = e if tile.over_column is None else e.masked_fill(tile.over_column, 0.0)
        return e.sum(0, dtype=self.exact) if self.b is None else self.b[tile.rows] @ e.to(self.exact)

    def tiles(self, *, keep: bool = False, picked: Tensor | None = None) -> Iterator[Tile]:
        """Yield all tiles: similarities, minus infinity where there is no candidate; if direct their exponentials.

        They may be written over. keep: hold what KEPT_BYTES can of them for the next sweep. picked: (e,) takes the
        similarities of the listed positives.
        """
        side, direct = self.plan.tile, self.plan.direct
        scratch = self.z.new_empty(min(side, len(self.z)) * min(side, len(self.k)))
        limited = self.plan.row_limit is not None or self.plan.column_limit is not None
        spare = KEPT_BYTES // scratch.element_size() if keep and direct and not limited else 0
        for top in range(0, len(self.z), side):
            rows = slice(top, min(top + side, len(self.z)))
            for left in range(top if self.plan.itself else 0, len(self.k), side):
                columns = slice(left, min(left + side, len(self.k)))
                if (top, left) in self.kept:
                    yield Tile(rows, columns, self.kept.pop((top, left)), None, None)
                    continue
                shape = rows.stop - rows.start, columns.stop - columns.start
                spare -= shape[0] * shape[1]
                s = self.z.new_empty(shape) if spare >= 0 else scratch[: shape[0] * shape[1]].view(shape)  # (r, c)
                torch.mm(self.z[rows], self.k[columns].T, out=s)
                over = self._over(s, rows, columns) if limited else (None, None)
                if picked is not None and self.mask.picked is not None:
                    i, j, place = self.mask.picked.inside(rows, columns)
                    picked[place] = s[i, j]
                if direct:
                    self.mask.fill(s.exp_(), rows, columns, 0.0)
                else:
                    self.mask.fill(s, rows, columns, -torch.inf)
                if spare >= 0:
                    self.kept[top, left] = s
                yield Tile(rows, columns, s, *over)

    def _over(self, s: Tensor, rows: slice, columns: slice) -> tuple[Tensor | None, Tensor | None]:
        """Say which entries lie above the limit of their row and of their column, (r, c) each."""
        by_row, by_column = self.plan.row_limit, self.plan.column_limit
        over_row = None if by_row is None else s > by_row[rows][:, None]
        return over_row, None if by_column is None else s > by_column[columns]


def add_products(by_z: Tensor, by_k: Tensor, ds: Tensor, z: Tensor, k: Tensor, tile: Tile) -> None:
    """Add a tile's part of dL/dz and dL/dk, given dL/dS (r, c): products in the tiles' type, sums at least in fp32."""
    if by_z.dtype == z.dtype:
        by_z[tile.rows].addmm_(ds, k[tile.columns])
        by_k[tile.columns].addmm_(ds.T, z[tile.rows])
    else:
        by_z[tile.rows] += ds @ k[tile.columns]
        by_k[tile.columns] += ds.T @ z[tile.rows]


class Mask:
    """Blots out of each tile what is no candidate."""

    def __init__(self, plan: SweepPlan) -> None:
        relations, pairs = plan.relations, plan.relations.pairs
        (i, j), (near_i, near_j) = relations.ignored, relations.near
        self.blotted = _Tiled((torch.cat([i, near_i]), torch.cat([j, near_j])), plan) if len(i) + len(near_i) else None
        self.scopes = None if pairs.query_scope is None else (pairs.query_scope, pairs.key_scope)
        self.items = (pairs.query_item, pairs.key_item) if relations.items else None
        self.groups = (pairs.query_group, pairs.key_group) if relations.by_class and plan.side != "both" else None
        self.near = plan.side == "near"
        self.picked = _Tiled(_above(relations.near, plan), plan) if plan.pick else None

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> None:
        """Write `value` where a tile's entries are no candidates."""
        blots = []
        if self.scopes is not None and self.scopes[1] is not None:
            blots.append(self.scopes[0][rows][:, None] != self.scopes[1][columns])
        if self.items is not None:
            blots.append(self.items[0][rows][:, None] == self.items[1][columns])
        if self.groups is not None:
            same = self.groups[0][rows][:, None] == self.groups[1][columns]
            blots.append(~same if self.near else same)
        for blot in blots:
            tile.masked_fill_(blot, value)
        if self.blotted is not None:
            i, j, _ = self.blotted.inside(rows, columns)
            if len(i):
                tile[i, j] = value


def _above(near: Entries, plan: SweepPlan) -> Entries:
    """Mirror what lies below the diagonal of a symmetric matrix, whose lower tiles are not visited."""
    return (torch.minimum(*near), torch.maximum(*near)) if plan.itself else near


class _Tiled:
    """Entries of a matrix, sorted by tile, so that a tile finds its own."""

    def __init__(self, entries: Entries, plan: SweepPlan) -> None:
        self.tile = plan.tile
        n, m = plan.relations.pairs.shape
        high, self.wide = -(-n // plan.tile), -(-m // plan.tile)  # tiles in a column, in a row of tiles
        self.rows, self.columns = entries
        self.order: Tensor | None = None  # of the entries as they were given; None: as they are
        self.edges = [0, len(self.rows)]
        if high * self.wide > 1:
            tile = entries[0] // plan.tile * self.wide + entries[1] // plan.tile
            tile, self.order = torch.sort(tile, stable=True)
            self.rows, self.columns = entries[0][self.order], entries[1][self.order]
            edges = torch.arange(high * self.wide + 1, device=tile.device)
            self.edges = torch.searchsorted(tile, edges).tolist()

    def inside(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor | slice]:
        """Return a tile's entries, counted from its corner, and where they stood in the list as it was given."""
        tile = rows.start // self.tile * self.wide + columns.start // self.tile
        part = slice(self.edges[tile], self.edges[tile + 1])
        if self.order is None:
            return self.rows, self.columns, part
        return self.rows[part] - rows.start, self.columns[part] - columns.start, self.order[part]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep needs beside the vectors.

    side: "far" negatives; "near" what is positive by class; "both". columns: the way back, too. itself: z is k, and S
    symmetric. pick: read the listed positives from the tiles, which are exact enough. row_limit (n,), column_limit
    (m,): an entry of S above is no candidate of its row, of its column.
    """

    relations: Relations
    side: PairLists
    columns: bool
    tile: int
    dtype: torch.dtype
    direct: bool
    itself: bool = False
    row_limit: Tensor | None = None
    column_limit: Tensor | None = None
    pick: bool = False


def arithmetic(z: Tensor, k: Tensor, precision: str) -> tuple[torch.dtype, bool]:
    """Return the type of the tiles' products, and whether exponentials may be summed without a shift.

    precision: "fp32", "bf16", or "auto": bf16 if it is exact enough for these vectors. float64 stays float64.
    """
    bound = float(z.detach().norm(dim=1).amax() * k.detach().norm(dim=1).amax())  # of every |S|, Cauchy-Schwarz
    dtype = z.dtype
    if dtype != torch.float64 and (precision == "bf16" or (precision == "auto" and bound <= BF16_LIMIT)):
        dtype = torch.bfloat16
    return dtype, bound <= DIRECT[dtype]


def tile_precision(asked: str, vectors: Tensor) -> str:
    """Return `asked`, or for "auto" whether bf16 may be considered: under its autocast, or with bf16 vectors."""
    device = vectors.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return asked if asked != "auto" or autocast or vectors.dtype == torch.bfloat16 else "fp32"
