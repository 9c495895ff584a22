"""Panels: some rows of a similarity matrix at a time, for what must look at every negative one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.losses._listed import Listed

PANEL = 256  # rows whose similarities to all keys are held at once


def mean_hinge(q: Tensor, k: Tensor, listed: Listed, margin: float) -> Tensor:
    """Return the mean of max(0, s_il - s_ij + margin) over the listed positives (i, j) and all negatives l of i."""
    mean: Tensor = _MeanHinge.apply(q, k, listed, margin)
    return mean


def panels(listed: Listed) -> Iterator[tuple[Tensor, slice]]:
    """Yield some query rows (r,) and where their positives are listed."""
    n, i = len(listed.query_share), listed.i
    edges = torch.searchsorted(i, torch.arange(0, n + PANEL, PANEL, device=i.device)).tolist()
    for panel, (start, stop) in enumerate(itertools.pairwise(edges)):
        yield torch.arange(panel * PANEL, min((panel + 1) * PANEL, n), device=i.device), slice(start, stop)


def count_below(ordered: Tensor, row: Tensor, values: Tensor) -> Tensor:
    """Return how many of an ascending row's entries are below a value, for each (row, value), rows in order."""
    rank = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)  # among its row's values
    asked = values.new_zeros(len(ordered), int(rank.max()) + 1)
    asked[row, rank] = values
    return torch.searchsorted(ordered, asked)[row, rank]


class _MeanHinge(torch.autograd.Function):
    """The way forth, panel by panel, computes the gradients too: a panel is sorted once."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, listed: Listed, margin: float) -> Tensor:
        total, count = q.new_zeros((), dtype=torch.float64), q.new_zeros((), dtype=torch.float64)
        by_query, by_key = torch.zeros_like(q), torch.zeros_like(k)
        for rows, part in panels(listed):
            far, weight = listed.far(rows) * listed.key_share, listed.weight[part].double()  # (r, m), (e,)
            row, learns = listed.i[part] - rows[0], any(ctx.needs_input_grad)
            with torch.set_grad_enabled(learns):
                x, y = (t.detach().requires_grad_(learns) for t in (q[rows], k))
                s = x @ y.T  # (r, m)
                value = weight @ _hinges(s, far, row, s[row, listed.j[part]] - margin)
            if learns:
                by_query[rows], by_panel = torch.autograd.grad(value, (x, y))
                by_key += by_panel
            total, count = total + value.detach(), count + weight @ far.sum(1).double()[row]
        ctx.save_for_backward((by_query / count).to(q.dtype), (by_key / count).to(q.dtype))
        return (total / count).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_query, by_key = ctx.saved_tensors
        return grads[0] * by_query, grads[0] * by_key, None, None


def _hinges(s: Tensor, far: Tensor, row: Tensor, limit: Tensor) -> Tensor:
    """Return sum_l far_l max(0, s_l - limit) of a row of similarities (r, m) for each (row, limit), (e,) float64."""
    distance, order = torch.where(far > 0, -s, torch.inf).sort(1)  # (r, m)
    share = far.gather(1, order).double()  # (r, m), for differences of sums of many
    active = count_below(distance.detach(), row, -limit.detach())  # (e,)
    some, last = active > 0, (active - 1).clamp_min(0)
    number, summed = share.cumsum(1), (share * distance.masked_fill(share == 0, 0.0)).cumsum(1)  # (r, m)
    return torch.where(some, -limit * number[row, last] - summed[row, last], 0.0)
