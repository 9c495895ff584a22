"""InfoNCE of a batch that fits one tile: the matrix is held whole, and few operations give value and gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nearfar.compute.fp32_products import product, suits_product
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import BF16_LIMIT, UNSHIFTED_LIMIT

SMALL = 512  # rows up to which this is faster than the tiles where products are in bf16


def cross_entropy(
    q: Tensor, k: Tensor, scale: Tensor | float, relations: Relations, *, key_to_query: bool, bf16: bool
) -> Tensor | None:
    """Return InfoNCE of simple relations, a scalar; None where logits are too large for exp without a shift.

    q: (n, d); k: (m, d); scale: of their products. key_to_query: the mean with the loss of this direction, over the
    keys that have a positive. bf16: the type of the products; the positives' logits are exact.
    """
    loss: Tensor | None = _CrossEntropy.apply(q, k, scale, relations, key_to_query, bf16)
    return loss


class _CrossEntropy(torch.autograd.Function):
    """The loss of query i is log(1 + r_i / e_i), that of its positive key j is log(1 + c_j / e_i).

    E = exp(S) is masked where there is no negative, r_i = sum_j E_ij and c_j = sum_i E_ij are sums over negatives, and
    e_i = e^{s_i} is that of the positive. With u_i = 1 / (r_i + e_i) and v_j = 1 / (c_j + e_i), both divided by
    the number of losses, the gradient of S is E_ij (u_i + v_j) at a negative and -(r_i u_i + c_j v_j) at a positive.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, scale: Tensor | float, relations: Relations, key_to_query: bool, bf16: bool
    ) -> Tensor | None:
        factor, (i, j) = float(scale), relations.positives
        limit = math.exp(BF16_LIMIT if bf16 else UNSHIFTED_LIMIT[q.dtype])
        left, right = (q.bfloat16(), k.bfloat16()) if bf16 else (q, k)  # what is multiplied
        e = _product(left, right.T, factor, q.dtype)  # (n, m)
        diagonal = e.diagonal() if relations.diagonal else None  # a view, which is faster than indexing with i and j
        if bf16:  # the positives' logits are computed exactly
            s = ((q * k[: len(q)]) if diagonal is not None else q[i] * k[j]).sum(1).mul_(factor)  # (n,)
        else:
            s = e[i, j] if diagonal is None else diagonal.clone()  # (n,)
        positive = s.exp()
        e.exp_()
        _put(e, diagonal, i, j, torch.zeros_like(s))
        if len(relations.ignored[0]):
            e[relations.ignored] = 0.0
        r, weight = e.sum(1), 1.0 / (len(q) * (2 if key_to_query else 1))  # (n,)
        if not (float((r + positive).amax()) < limit and float(positive.amin()) > 1 / limit):
            return None
        zero = torch.zeros_like(s)
        loss = torch.logaddexp(r.log() - s, zero).sum()  # log1p(r / positive) would overflow before its logarithm
        u = weight / (r + positive)
        by_negative, by_positive = u[:, None], -r * u
        if key_to_query:
            c = e.sum(0)[j] if diagonal is None else e.sum(0)[: len(s)]  # (n,)
            loss = loss + torch.logaddexp(c.log() - s, zero).sum()
            v = weight / (c + positive)
            by_positive = by_positive - c * v
            all_keys = diagonal is not None and len(v) == len(k)
            by_negative = by_negative + (v if all_keys else v.new_zeros(len(k)).index_put((j,), v))
        if any(ctx.needs_input_grad):
            ds = e.mul_(by_negative)  # (n, m)
            _put(ds, diagonal, i, j, by_positive)
            ds = ds.to(left.dtype)
            grad_q, grad_k = _product(ds, right, factor, q.dtype), _product(ds.T, left, factor, q.dtype)
            grad_scale = (grad_q * q).sum() / factor if isinstance(scale, Tensor) else None
            ctx.save_for_backward(grad_q, grad_k, grad_scale)
        return loss * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: the saved gradients would count as constants
            raise RuntimeError("this loss has no second derivative; leave create_graph out")
        grad_q, grad_k, grad_scale = ctx.saved_tensors
        g = grads[0]
        return g * grad_q, g * grad_k, None if grad_scale is None else g * grad_scale, None, None, None


def _put(matrix: Tensor, diagonal: Tensor | None, i: Tensor, j: Tensor, values: Tensor) -> None:
    """Write the values (n,) at the entries i, j of a matrix, or on its diagonal, a view of the matrix."""
    if diagonal is None:
        matrix[i, j] = values
    else:
        diagonal.copy_(values)


def _product(a: Tensor, b: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """Return factor * a b in a type."""
    if suits_product(a, b.T):
        return product(a, b.T).mul_(factor)
    if a.dtype != dtype:
        return torch.mm(a, b).to(dtype).mul_(factor)
    return torch.addmm(b.new_zeros(()), a, b, beta=0, alpha=factor)
