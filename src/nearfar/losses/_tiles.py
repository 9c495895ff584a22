"""The exact tiled engine: log-sum-exp of a similarity matrix, by rows and by columns, that never holds the matrix.

With S = z k' (n, m) and shares a (keys), b (queries), over the entries that are candidates:

    rows_i = log sum_j a_j exp(S_ij)          columns_j = log sum_i b_i exp(S_ij)

Forward is one sweep over tiles. Backward recomputes each tile and turns it, in place, into the gradient of S,
g_i a_j exp(S_ij - rows_i) + h_j b_i exp(S_ij - columns_j), for two products. (Recomputation instead of storage, as
FlashAttention does for attention: Dao et al. 2022, arXiv:2205.14135.) Every loss over pairs composes these two vectors
with the listed positives, which stay in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nearfar.losses._relations import Entries, Relations

# exp(|S|) and its sums over millions of terms stay far inside a type's range up to here: no shift by the maximum
DIRECT = {torch.float32: 60.0, torch.bfloat16: 60.0, torch.float64: 300.0}
KEPT_BYTES = 32 << 20  # exponentials kept from the way forth for the way back: a small batch is not computed twice
BF16_LIMIT = 50.0  # beyond, the rounding of a bf16 logit (2^-9 of it) bends the gradient too far


@dataclass(frozen=True)
class Plan:
    """What a sweep needs beside the vectors."""

    relations: Relations
    without_near: bool  # leave the listed positives out: the loss adds them back in fp32
    columns: bool  # the way back too
    tile: int
    dtype: torch.dtype
    direct: bool

    @classmethod
    def of(cls, z: Tensor, k: Tensor, relations: Relations, *, columns: bool, tile: int, precision: str) -> Plan:
        """Choose the arithmetic: `precision` is "fp32", "bf16", or "auto": bf16 if it is exact enough for these
        vectors, else fp32. float64 vectors stay float64."""
        bound = float(z.detach().norm(dim=1).amax() * k.detach().norm(dim=1).amax())  # of every |S|, Cauchy-Schwarz
        dtype = z.dtype
        if dtype != torch.float64 and (precision == "bf16" or (precision == "auto" and bound <= BF16_LIMIT)):
            dtype = torch.bfloat16
        return cls(relations, relations.near is not None, columns, tile, dtype, bound <= DIRECT[dtype])


def tile_precision(asked: str, vectors: Tensor) -> str:
    """Return `asked`, or for "auto" whether bf16 may be considered: under its autocast, or with bf16 vectors."""
    device = vectors.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return asked if asked != "auto" or autocast or vectors.dtype == torch.bfloat16 else "fp32"


def log_sum_exp(z: Tensor, k: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return rows (n,) and columns (m,) of the module's equation; minus infinity where nothing is a candidate.

    z: (n, d) queries times the scale; k: (m, d) keys. Without `plan.columns` the columns are empty.
    """
    rows, columns = _LogSumExp.apply(z, k, plan)
    return rows, columns


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, k: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        sweep = _Sweep(z.detach(), k.detach(), plan)
        rows, columns = sweep.direct() if plan.direct else sweep.shifted()
        ctx.sweep = sweep
        ctx.save_for_backward(rows, columns)
        return rows, columns

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, columns = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            return *ctx.sweep.gradient(rows, columns, *grads), None


class _Sweep:
    """The tiles of one matrix, forth and back."""

    def __init__(self, z: Tensor, k: Tensor, plan: Plan) -> None:
        self.plan = plan
        self.z, self.k = z.to(plan.dtype), k.to(plan.dtype)  # (n, d), (m, d)
        self.exact = torch.promote_types(plan.dtype, torch.float32)  # sums are at least fp32
        self.mask = _Mask(plan)
        shares = plan.relations.key_share, plan.relations.query_share
        self.a, self.b = (None if share is None else share.to(self.exact) for share in shares)
        self.kept: dict[tuple[int, int], Tensor] = {}  # the first tiles' exponentials, as many as KEPT_BYTES hold

    def tiles(self, *, again: bool) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield each tile's rows, columns and similarities (r, c), if direct their exponentials, to be written over."""
        tile, direct = self.plan.tile, self.plan.direct
        scratch = self.z.new_empty(min(tile, len(self.z)) * min(tile, len(self.k)))
        spare = KEPT_BYTES // scratch.element_size() if direct and not again else 0
        for top in range(0, len(self.z), tile):
            rows = slice(top, min(top + tile, len(self.z)))
            for left in range(0, len(self.k), tile):
                columns = slice(left, min(left + tile, len(self.k)))
                if again and (top, left) in self.kept:
                    yield rows, columns, self.kept.pop((top, left))
                    continue
                shape = rows.stop - rows.start, columns.stop - columns.start
                spare -= shape[0] * shape[1]
                s = self.z.new_empty(shape) if spare >= 0 else scratch[: shape[0] * shape[1]].view(shape)  # (r, c)
                torch.mm(self.z[rows], self.k[columns].T, out=s)
                if direct:
                    self.mask.fill(s.exp_(), rows, columns, 0.0)
                if spare >= 0:
                    self.kept[top, left] = s
                yield rows, columns, s

    def direct(self) -> tuple[Tensor, Tensor]:
        """Plain sums of exponentials: every |S| is small enough."""
        row_sum = self.z.new_zeros(len(self.z), dtype=self.exact)
        column_sum = self.z.new_zeros(len(self.k) if self.plan.columns else 0, dtype=self.exact)
        for rows, columns, e in self.tiles(again=False):
            row_sum[rows] += e.sum(1, dtype=self.exact) if self.a is None else e.to(self.exact) @ self.a[columns]
            if self.plan.columns:
                sums = e.sum(0, dtype=self.exact) if self.b is None else self.b[rows] @ e.to(self.exact)
                column_sum[columns] += sums
        return row_sum.log_(), column_sum.log_()

    def shifted(self) -> tuple[Tensor, Tensor]:
        """Running log-sum-exp with the maximum taken out: any S."""
        row_log = self.z.new_full((len(self.z),), -torch.inf, dtype=self.exact)
        column_log = row_log.new_full((len(self.k) if self.plan.columns else 0,), -torch.inf)
        for rows, columns, tile in self.tiles(again=False):
            s = self.mask.fill(tile.to(self.exact), rows, columns, -torch.inf)
            weighed = s if self.a is None else s + self.a[columns].log()
            row_log[rows] = torch.logaddexp(row_log[rows], torch.logsumexp(weighed, 1))
            if self.plan.columns:
                weighed = s if self.b is None else s + self.b[rows].log()[:, None]
                column_log[columns] = torch.logaddexp(column_log[columns], torch.logsumexp(weighed, 0))
        return row_log, column_log

    def gradient(self, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return dL/dz (n, d) and dL/dk (m, d) from dL/drows g (n,) and dL/dcolumns h (m,)."""
        grad_z, grad_k = torch.zeros_like(self.z, dtype=self.exact), torch.zeros_like(self.k, dtype=self.exact)
        slope = self._direct_gradient if self.plan.direct else self._shifted_gradient
        for rows, columns, s in self.tiles(again=True):
            ds = slope(s, rows, columns, row_log, column_log, g, h).to(self.z.dtype)  # (r, c)
            if self.exact == self.z.dtype:
                grad_z[rows].addmm_(ds, self.k[columns])
                grad_k[columns].addmm_(ds.T, self.z[rows])
            else:  # products in bf16, sums in fp32
                grad_z[rows] += ds @ self.k[columns]
                grad_k[columns] += ds.T @ self.z[rows]
        return grad_z, grad_k

    def _direct_gradient(
        self, e: Tensor, rows: slice, columns: slice, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor
    ) -> Tensor:
        u = _share_of(g[rows], row_log[rows])[:, None]  # (r, 1)
        weight = u.to(e.dtype) if self.a is None else (u * self.a[columns]).to(e.dtype)
        if self.plan.columns:
            v = _share_of(h[columns], column_log[columns])  # (c,)
            weight = weight + (v.to(e.dtype) if self.b is None else (v * self.b[rows][:, None]).to(e.dtype))
        return e.mul_(weight)

    def _shifted_gradient(
        self, tile: Tensor, rows: slice, columns: slice, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor
    ) -> Tensor:
        s = self.mask.fill(tile.to(self.exact), rows, columns, -torch.inf)
        finite = row_log[rows].clamp_min(torch.finfo(self.exact).min)[:, None]  # no candidate: exp(-inf - x) = 0
        ds = (s - finite).exp_().mul_(g[rows][:, None])
        if self.a is not None:
            ds *= self.a[columns]
        if self.plan.columns:
            back = (s - column_log[columns].clamp_min(torch.finfo(self.exact).min)).exp_().mul_(h[columns])
            ds += back if self.b is None else back * self.b[rows][:, None]
        return ds


def _share_of(grad: Tensor, log: Tensor) -> Tensor:
    """Return grad exp(-log), zero where nothing was summed."""
    return torch.where(log > -torch.inf, grad * torch.exp(-log), 0.0)


class _Mask:
    """Blots out of each tile what is no candidate."""

    def __init__(self, plan: Plan) -> None:
        relations, pairs = plan.relations, plan.relations.pairs
        blotted = [relations.ignored]
        if plan.without_near and relations.near is not None:
            blotted.append(relations.near)
        self.blotted = _Tiled((torch.cat([e[0] for e in blotted]), torch.cat([e[1] for e in blotted])), plan)
        self.scopes = None if pairs.query_scope is None else (pairs.query_scope, pairs.key_scope)
        self.items = (pairs.query_item, pairs.key_item) if relations.items else None
        near = relations.known.weight > 0
        self.spared = _Tiled((relations.known.rows[near], relations.known.columns[near]), plan)

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> Tensor:
        """Write `value` where a tile's entries are no candidates."""
        if self.scopes is not None or self.items is not None:
            blot = torch.zeros_like(tile, dtype=torch.bool)
            if self.scopes is not None and self.scopes[1] is not None:
                blot |= self.scopes[0][rows][:, None] != self.scopes[1][columns]
            if self.items is not None:
                blot |= self.items[0][rows][:, None] == self.items[1][columns]
            blot[self.spared.inside(rows, columns)] = False
            tile = tile.masked_fill_(blot, value)
        inside = self.blotted.inside(rows, columns)
        if len(inside[0]):
            tile[inside] = value
        return tile


class _Tiled:
    """Entries of a matrix, sorted by tile, so that a tile finds its own."""

    def __init__(self, entries: Entries, plan: Plan) -> None:
        self.tile = plan.tile
        self.wide = -(-plan.relations.pairs.shape[1] // plan.tile)  # tiles in a row of tiles
        tile = entries[0] // plan.tile * self.wide + entries[1] // plan.tile
        order = torch.argsort(tile, stable=True)
        self.rows, self.columns = entries[0][order], entries[1][order]
        high = -(-plan.relations.pairs.shape[0] // plan.tile)
        edges = torch.arange(high * self.wide + 1, device=tile.device)
        self.edges = torch.searchsorted(tile[order], edges).tolist()

    def inside(self, rows: slice, columns: slice) -> Entries:
        """Return a tile's entries, counted from its corner."""
        tile = rows.start // self.tile * self.wide + columns.start // self.tile
        part = slice(self.edges[tile], self.edges[tile + 1])
        return self.rows[part] - rows.start, self.columns[part] - columns.start
