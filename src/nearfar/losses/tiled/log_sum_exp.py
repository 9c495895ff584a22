"""The exact tiled engine: log-sum-exp of a similarity matrix, by rows and by columns, that never holds the matrix.

With S = q k' (n, m) and shares a (keys), b (queries), over the entries that are candidates:

    rows_i = log sum_j a_j exp(S_ij)          columns_j = log sum_i b_i exp(S_ij)

Forward is one sweep over tiles. Backward recomputes each tile and turns it, in place, into the gradient of S,
g_i a_j exp(S_ij - rows_i) + h_j b_i exp(S_ij - columns_j), for two products. (Recomputation instead of storage, as
FlashAttention does for attention: Dao et al. 2022, arXiv:2205.14135.) Where the queries are the keys, S is symmetric:
a tile above the diagonal serves its rows and, mirrored, its columns, and those below it are never computed.
Every loss over pairs composes these vectors with the listed positives, which stay in fp32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.losses.tiled.tiles import Sweep, SweepPlan, Tile, accumulate_gradients


def log_sum_exp(q: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (n,) and columns (m,) of the module's equation; minus infinity where nothing is a candidate.

    q: (n, d) queries times the scale; k: (m, d) keys. Without `plan.key_to_query` the columns are empty. The third is
    S at the listed positives (e,) with `plan.read_positives`, else empty.
    """
    rows, columns, positives = _LogSumExp.apply(q, k, plan)
    return rows, columns, positives


@torch.no_grad()
def count_candidates(q: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor]:
    """Return the number of candidates of each row (n,) and of each column (m,), a copy counting for its share."""
    sweep = Sweep(q, k, plan)
    rows, columns = sweep.zeros()
    for tile in sweep.tiles():
        candidates = (tile.s > (0.0 if plan.unshifted else -torch.inf)).to(sweep.exact)
        rows[tile.rows] += sweep.row_sums(candidates, tile)
        if sweep.counts_columns(tile):
            columns[tile.columns] += sweep.column_sums(candidates, tile)
    return rows, columns


@torch.no_grad()
def lowest_candidates(q: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor]:
    """Return the least candidate of each row (n,) and of each column (m,), infinity where there is none."""
    sweep = Sweep(q, k, replace(plan, unshifted=False))
    rows, columns = (zeros.fill_(torch.inf) for zeros in sweep.zeros())
    for tile in sweep.tiles():
        s = tile.s.masked_fill(torch.isneginf(tile.s), torch.inf).to(sweep.exact)
        rows[tile.rows] = torch.minimum(rows[tile.rows], s.amin(1))
        if sweep.counts_columns(tile):
            columns[tile.columns] = torch.minimum(columns[tile.columns], s.amin(0))
    return rows, columns


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, plan: SweepPlan) -> tuple[Tensor, Tensor, Tensor]:
        sweep = Sweep(q.detach(), k.detach(), plan)
        positives = q.new_empty(len(plan.relations.positives[0]) if plan.read_positives else 0)
        rows, columns = _unshifted_sums(sweep, positives) if plan.unshifted else _shifted_sums(sweep, positives)
        ctx.sweep = sweep
        ctx.save_for_backward(rows, columns, q, k)  # q and k, so that autograd notices a change in place
        return rows, columns if plan.key_to_query else rows.new_empty(0), positives

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows, columns, _, _ = ctx.saved_tensors
        sweep, self_similarity = ctx.sweep, ctx.sweep.plan.self_similarity
        g, h, by_positives = grads[0], grads[0] if self_similarity else grads[1], grads[2]  # (n,), (m,), (e,)
        with torch.autocast(rows.device.type, enabled=False):
            grad_q = torch.zeros_like(sweep.q, dtype=sweep.exact)
            grad_k = grad_q if self_similarity else torch.zeros_like(sweep.k, dtype=sweep.exact)
            gradient = _unshifted_gradient if sweep.plan.unshifted else _shifted_gradient
            for tile in sweep.tiles():
                ds = gradient(sweep, tile, rows, columns, g, h).to(sweep.q.dtype)  # (r, c)
                if sweep.mask.positives is not None:
                    i, j, place = sweep.mask.positives.within(tile.rows, tile.columns)
                    ds.index_put_((i, j), by_positives[place], accumulate=True)
                accumulate_gradients(grad_q, grad_k, ds, sweep.q, sweep.k, tile)
            return grad_q, None if self_similarity else grad_k, None  # for self-similarity grad_q holds both


def _unshifted_sums(sweep: Sweep, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp of rows and columns as the log of plain sums: every |S| is small enough."""
    row_sum, column_sum = sweep.zeros()
    for tile in sweep.tiles(keep=True, positives=positives):
        row_sum[tile.rows] += sweep.row_sums(tile.s, tile)
        if sweep.counts_columns(tile):
            column_sum[tile.columns] += sweep.column_sums(tile.s, tile)
    return row_sum.log_(), column_sum if sweep.plan.self_similarity else column_sum.log_()


def _shifted_sums(sweep: Sweep, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp of rows and columns for any S: tile by tile, each shifted by its maximum."""
    row_log, column_log = (zeros.fill_(-torch.inf) for zeros in sweep.zeros())
    for tile in sweep.tiles(positives=positives):
        s, rows, columns = tile.s.to(sweep.exact), tile.rows, tile.columns
        terms = s if tile.above_row_limit is None else s.masked_fill(tile.above_row_limit, -torch.inf)
        terms = terms if sweep.a is None else terms + sweep.a[columns].log()
        row_log[rows] = torch.logaddexp(row_log[rows], torch.logsumexp(terms, 1))
        if sweep.counts_columns(tile):
            terms = s if tile.above_column_limit is None else s.masked_fill(tile.above_column_limit, -torch.inf)
            terms = terms if sweep.b is None else terms + sweep.b[rows].log()[:, None]
            column_log[columns] = torch.logaddexp(column_log[columns], torch.logsumexp(terms, 0))
    return row_log, column_log


def _unshifted_gradient(sweep: Sweep, tile: Tile, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor) -> Tensor:
    """Return the gradient of S for a tile of exp(S), (r, c), in the memory of the tile."""
    e, rows, columns = tile.s, tile.rows, tile.columns
    u = _over_sum(g[rows], row_log[rows])[:, None]  # (r, 1)
    weight = u.to(e.dtype) if sweep.a is None else (u * sweep.a[columns]).to(e.dtype)
    weight = weight if tile.above_row_limit is None else weight.expand(e.shape).masked_fill(tile.above_row_limit, 0.0)
    if sweep.counts_columns(tile):
        v = _over_sum(h[columns], column_log[columns])  # (c,)
        by_column = v.to(e.dtype) if sweep.b is None else (v * sweep.b[rows][:, None]).to(e.dtype)
        if tile.above_column_limit is not None:
            by_column = by_column.expand(e.shape).masked_fill(tile.above_column_limit, 0)
        weight = weight + by_column
    return e.mul_(weight)


def _shifted_gradient(sweep: Sweep, tile: Tile, row_log: Tensor, column_log: Tensor, g: Tensor, h: Tensor) -> Tensor:
    """Return the gradient of S for a tile of S, (r, c)."""
    s, rows, columns = tile.s.to(sweep.exact), tile.rows, tile.columns
    least = torch.finfo(sweep.exact).min  # no candidate: exp(-inf - x) = 0
    ds = (s - row_log[rows].clamp_min(least)[:, None]).exp_().mul_(g[rows][:, None])
    ds = ds if sweep.a is None else ds.mul_(sweep.a[columns])
    ds = ds if tile.above_row_limit is None else ds.masked_fill_(tile.above_row_limit, 0.0)
    if sweep.counts_columns(tile):
        by_column = (s - column_log[columns].clamp_min(least)).exp_().mul_(h[columns])
        by_column = by_column if sweep.b is None else by_column.mul_(sweep.b[rows][:, None])
        ds += by_column if tile.above_column_limit is None else by_column.masked_fill_(tile.above_column_limit, 0.0)
    return ds


def _over_sum(grad: Tensor, log_sum: Tensor) -> Tensor:
    """Return grad / e^log_sum, zero where nothing was summed."""
    return torch.where(log_sum > -torch.inf, grad * torch.exp(-log_sum), 0.0)
