"""The loss of a batch that fits one tile: held whole, value and gradient in one go, for few operations' cost."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nearfar.losses._plan import DIRECT
from nearfar.losses._relations import Relations

SMALL = 512  # rows at which products in fp32 cost less than what is saved


def cross_entropy(
    q: Tensor, k: Tensor, scale: Tensor | float, relations: Relations, *, back: bool, bf16: bool
) -> Tensor | None:
    """Return InfoNCE of simple relations, a scalar; None where similarities are too large for plain exponentials.

    q: (n, d); k: (m, d); scale: of their products. back: half of the way back, too, over the keys with a positive.
    bf16: of the two products on the way back; the similarities are exact.
    """
    found: Tensor | None = _CrossEntropy.apply(q, k, scale, relations, back, bf16)
    return found


class _CrossEntropy(torch.autograd.Function):
    """With e_i = e^{s_i} of the positive, r_i and c_j the sums over negatives: log(1 + r_i / e_i), log(1 + c_j / e_j).

    The slope of S is (E_ij u_i + E_ij v_j), u_i = 1 / (r_i + e_i) over n; of a positive - r_i u_i - c_j v_j.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, scale: Tensor | float, relations: Relations, back: bool, bf16: bool
    ) -> Tensor | None:
        factor, (i, j), most = float(scale), relations.near, math.exp(DIRECT[q.dtype])
        e = torch.addmm(q.new_zeros(()), q, k.T, beta=0, alpha=factor)  # (n, m)
        s = e[i, j]  # (n,)
        best = s.exp()
        e.exp_()[i, j] = 0.0
        if len(relations.ignored[0]):
            e[relations.ignored] = 0.0
        r, weight = e.sum(1), 1.0 / (len(q) * (2 if back else 1))  # (n,)
        if not (float((r + best).amax()) < most and float(best.amin()) > 1 / most):
            return None
        zero = torch.zeros_like(s)
        loss = torch.logaddexp(r.log() - s, zero).sum()  # not log1p(r / best), which overflows before its logarithm
        u = weight / (r + best)
        slope, pull = u[:, None], -r * u
        if back:
            c = e.sum(0)[j]  # (n,)
            loss = loss + torch.logaddexp(c.log() - s, zero).sum()
            v = weight / (c + best)
            pull = pull - c * v
            slope = slope + e.new_zeros(e.shape[1]).index_put((j,), v)
        if any(ctx.needs_input_grad):
            ds = e.mul_(slope)  # (n, m)
            ds[i, j] = pull
            by_q, by_k = _product(ds, k, factor, bf16), _product(ds.T, q, factor, bf16)
            by_scale = (by_q * q).sum() / factor if isinstance(scale, Tensor) else None
            ctx.save_for_backward(by_q, by_k, by_scale)
        return loss * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the gradient is made by now, and would count as a constant
            raise RuntimeError("this loss has no second derivative; leave create_graph out")
        by_q, by_k, by_scale = ctx.saved_tensors
        g = grads[0]
        return g * by_q, g * by_k, None if by_scale is None else g * by_scale, None, None, None


def _product(a: Tensor, b: Tensor, factor: float, bf16: bool) -> Tensor:
    if bf16:
        return torch.mm(a.bfloat16(), b.bfloat16()).to(b.dtype).mul_(factor)
    return torch.addmm(b.new_zeros(()), a, b, beta=0, alpha=factor)
