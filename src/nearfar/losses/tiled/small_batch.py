"""The loss of a batch that fits one tile: held whole, value and gradient in one go, for few operations' cost."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import BF16_LIMIT, DIRECT

SMALL = 512  # rows at which products in fp32 cost less than what is saved


def cross_entropy(
    q: Tensor, k: Tensor, scale: Tensor | float, relations: Relations, *, back: bool, bf16: bool
) -> Tensor | None:
    """Return InfoNCE of simple relations, a scalar; None where similarities are too large for plain exponentials.

    q: (n, d); k: (m, d); scale: of their products. back: half of the way back, too, over the keys with a positive.
    bf16: of the products; the positives' similarities are exact.
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
        factor, (i, j), most = float(scale), relations.near, math.exp(BF16_LIMIT if bf16 else DIRECT[q.dtype])
        left, right = (q.bfloat16(), k.bfloat16()) if bf16 else (q, k)  # what is multiplied
        e = _product(left, right.T, factor, q.dtype)  # (n, m)
        near = e.diagonal() if relations.diagonal else None  # a view: where pairs are aligned, nothing is looked up
        if bf16:  # the positive's similarity is exact
            s = ((q * k[: len(q)]) if near is not None else q[i] * k[j]).sum(1).mul_(factor)  # (n,)
        else:
            s = e[i, j] if near is None else near.clone()  # (n,)
        best = s.exp()
        e.exp_()
        _put(e, near, i, j, torch.zeros_like(s))
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
            c = e.sum(0)[j] if near is None else e.sum(0)[: len(s)]  # (n,)
            loss = loss + torch.logaddexp(c.log() - s, zero).sum()
            v = weight / (c + best)
            pull = pull - c * v
            slope = slope + (v if near is not None and len(v) == len(k) else v.new_zeros(len(k)).index_put((j,), v))
        if any(ctx.needs_input_grad):
            ds = e.mul_(slope)  # (n, m)
            _put(ds, near, i, j, pull)
            ds = ds.to(left.dtype)
            by_q, by_k = _product(ds, right, factor, q.dtype), _product(ds.T, left, factor, q.dtype)
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


def _put(matrix: Tensor, diagonal: Tensor | None, i: Tensor, j: Tensor, values: Tensor) -> None:
    if diagonal is None:
        matrix[i, j] = values
    else:
        diagonal.copy_(values)


def _product(a: Tensor, b: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    if a.dtype != dtype:
        return torch.mm(a, b).to(dtype).mul_(factor)
    return torch.addmm(b.new_zeros(()), a, b, beta=0, alpha=factor)
