"""The exact tiled engine: log-sum-exp of a similarity matrix, by rows and by columns, that never holds the matrix.

With S = z k' (n, m) and shares a (keys), b (queries), over the entries that are candidates:

    rows_i = log sum_j a_j exp(S_ij)          columns_j = log sum_i b_i exp(S_ij)

Forward is one sweep over tiles. Backward recomputes each tile and turns it, in place, into the gradient of S,
g_i a_j exp(S_ij - rows_i) + h_j b_i exp(S_ij - columns_j), for two products. (Recomputation instead of storage, as
FlashAttention does for attention: Dao et al. 2022, arXiv:2205.14135.) Where the queries are the keys, S is symmetric:
a tile above the diagonal serves its rows and, mirrored, its columns, and those below it are never visited.
Every loss over pairs composes these vectors with the listed positives, which stay in fp32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.losses.tiled.tiles import Sweep, SweepPlan, Tile, add_products


def log_sum_exp(z: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (n,) and columns (m,) of the module's equation; minus infinity where nothing is a candidate.

    z: (n, d) queries times the scale; k: (m, d) keys. Without `plan.columns` the columns are empty. The third is
    S at the listed positives (e,) with `plan.pick`, else empty.
    """
    rows, columns, picked = _LogSumExp.apply(z, k, plan)
    return rows, columns, picked


@torch.no_grad()
def counts(z: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor]:
    """Return how many candidates each row (n,) and each column (m,) has, a copy counting for its share."""
    sweep = Sweep(z, k, plan)
    rows, columns = sweep.zeros()
    for tile in sweep.tiles():
        there = (tile.s > (0.0 if plan.direct else -torch.inf)).to(sweep.exact)
        rows[tile.rows] += sweep.by_row(there, tile)
        if sweep.sideways(tile):
            columns[tile.columns] += sweep.by_column(there, tile)
    return rows, columns


@torch.no_grad()
def lowest(z: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor]:
    """Return the least candidate of each row (n,) and of each column (m,), infinity where there is none."""
    sweep = Sweep(z, k, replace(plan, direct=False))
    rows, columns = (zeros.fill_(torch.inf) for zeros in sweep.zeros())
    for tile in sweep.tiles():
        s = tile.s.masked_fill(torch.isneginf(tile.s), torch.inf).to(sweep.exact)
        rows[tile.rows] = torch.minimum(rows[tile.rows], s.amin(1))
        if sweep.sideways(tile):
            columns[tile.columns] = torch.minimum(columns[tile.columns], s.amin(0))
    return rows, columns


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor, Tensor]:
        sweep = Sweep(z.detach(), k.detach(), plan)
        picked = z.new_empty(len(plan.relations.near[0]) if plan.pick else 0)
        rows, columns = _direct(sweep, picked) if plan.direct else _shifted(sweep, picked)
        ctx.sweep = sweep
        ctx.save_for_backward(rows, columns, z, k)  # the last two, which the sweep reads, to notice if they are changed
        return rows, columns if plan.columns else rows.new_empty(0), picked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows, columns, _, _ = ctx.saved_tensors
        sweep, itself = ctx.sweep, ctx.sweep.plan.itself
        g, h, by_picked = grads[0], grads[0] if itself else grads[1], grads[2]
        with torch.autocast(rows.device.type, enabled=False):
            by_z = torch.zeros_like(sweep.z, dtype=sweep.exact)
            by_k = by_z if itself else torch.zeros_like(sweep.k, dtype=sweep.exact)
            slope = _direct_slope if sweep.plan.direct else _shifted_slope
            for tile in sweep.tiles():
                ds = slope(sweep, tile, rows, columns, g, h).to(sweep.z.dtype)  # (r, c)
                if sweep.mask.picked is not None:
                    i, j, place = sweep.mask.picked.inside(tile.rows, tile.columns)
                    ds.index_put_((i, j), by_picked[place], accumulate=True)
                add_products(by_z, by_k, ds, sweep.z, sweep.k, tile)
            return by_z, None if itself else by_k, None  # itself: both are one, and already added


def _share_of(grad: Tensor, log: Tensor) -> Tensor:
    """Return grad exp(-log), zero where nothing was summed."""
    return torch.where(log > -torch.inf, grad * torch.exp(-log), 0.0)


def _direct(sweep: Sweep, picked: Tensor) -> tuple[Tensor, Tensor]:
    """Plain sums of exponentials: every |S| is small enough."""
    row_sum, column_sum = sweep.zeros()
    for tile in sweep.tiles(keep=True, picked=picked):
        row_sum[tile.rows] += sweep.by_row(tile.s, tile)
        if sweep.sideways(tile):
            column_sum[tile.columns] += sweep.by_column(tile.s, tile)
    return row_sum.log_(), column_sum if sweep.plan.itself else column_sum.log_()


def _shifted(sweep: Sweep, picked: Tensor) -> tuple[Tensor, Tensor]:
    """Running log-sum-exp with the maximum taken out: any S."""
    row_log, column_log = (zeros.fill_(-torch.inf) for zeros in sweep.zeros())
    for tile in sweep.tiles(picked=picked):
        s, rows, columns = tile.s.to(sweep.exact), tile.rows, tile.columns
        one = s if tile.over_row is None else s.masked_fill(tile.over_row, -torch.inf)
        one = one if sweep.a is None else one + sweep.a[columns].log()
        row_log[rows] = torch.logaddexp(row_log[rows], torch.logsumexp(one, 1))
        if sweep.sideways(tile):
            one = s if tile.over_column is None else s.masked_fill(tile.over_column, -torch.inf)
            one = one if sweep.b is None else one + sweep.b[rows].log()[:, None]
            column_log[columns] = torch.logaddexp(column_log[columns], torch.logsumexp(one, 0))
    return row_log, column_log


def _direct_slope(sweep: Sweep, tile: Tile, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor) -> Tensor:
    e, rows, columns = tile.s, tile.rows, tile.columns
    u = _share_of(g[rows], row_log[rows])[:, None]  # (r, 1)
    weight = u.to(e.dtype) if sweep.a is None else (u * sweep.a[columns]).to(e.dtype)
    weight = weight if tile.over_row is None else weight.expand(e.shape).masked_fill(tile.over_row, 0.0)
    if sweep.sideways(tile):
        v = _share_of(h[columns], column_log[columns])  # (c,)
        back = v.to(e.dtype) if sweep.b is None else (v * sweep.b[rows][:, None]).to(e.dtype)
        weight = weight + (back if tile.over_column is None else back.expand(e.shape).masked_fill(tile.over_column, 0))
    return e.mul_(weight)


def _shifted_slope(sweep: Sweep, tile: Tile, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor) -> Tensor:
    s, rows, columns = tile.s.to(sweep.exact), tile.rows, tile.columns
    least = torch.finfo(sweep.exact).min  # no candidate: exp(-inf - x) = 0
    ds = (s - row_log[rows].clamp_min(least)[:, None]).exp_().mul_(g[rows][:, None])
    ds = ds if sweep.a is None else ds.mul_(sweep.a[columns])
    ds = ds if tile.over_row is None else ds.masked_fill_(tile.over_row, 0.0)
    if sweep.sideways(tile):
        back = (s - column_log[columns].clamp_min(least)).exp_().mul_(h[columns])
        back = back if sweep.b is None else back.mul_(sweep.b[rows][:, None])
        ds += back if tile.over_column is None else back.masked_fill_(tile.over_column, 0.0)
    return ds
