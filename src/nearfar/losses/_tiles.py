"""The tiles of a similarity matrix, one after the other: what every pairwise loss is swept over by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.losses._mask import Mask
from nearfar.losses._plan import Plan

KEPT_BYTES = 16 << 20  # exponentials kept from the way forth for the way back: a small batch is not computed twice


class Tile(NamedTuple):
    """Part of S: its place, its entries (r, c), and which of these its rows or columns leave out, (r, c) or None."""

    rows: slice
    columns: slice
    s: Tensor
    over_row: Tensor | None
    over_column: Tensor | None


class Sweep:
    """The tiles of one matrix, forth and back."""

    def __init__(self, z: Tensor, k: Tensor, plan: Plan) -> None:
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
