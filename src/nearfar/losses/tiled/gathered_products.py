"""Products and distances of listed pairs of rows, gathering the vectors of one block of pairs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.compute.fp32_products import product

GATHER_BLOCK = 4096  # pairs whose vectors are gathered together
DENSE = 8  # where more than one in 8 entries of q k' is listed, it is faster to compute all, at most 8 times as many


def listed_products(q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return q[i] . k[j] for listed rows, (e,)."""
    if DENSE * len(i) > len(q) * len(k):
        return product(q, k).flatten().gather(0, i * len(k) + j)
    products: Tensor = _Products.apply(q, k, i, j)
    return products


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, i, j)
        return torch.cat([q.new_empty(0), *((q[a] * k[b]).sum(1) for _, a, b in _blocks(i, j))])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        q, k, i, j = ctx.saved_tensors
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for part, a, b in _blocks(i, j):
            g = grads[0][part][:, None]  # (block, 1)
            grad_q.index_add_(0, a, g * k[b])
            grad_k.index_add_(0, b, g * q[a])
        return grad_q, grad_k, None, None


def squared_distances(q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return |q[i] - k[j]|^2 for listed rows, (e,)."""
    distances: Tensor = _SquaredDistances.apply(q, k, i, j)
    return distances


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, i, j)
        return torch.cat([(q[a] - k[b]).square().sum(1) for _, a, b in _blocks(i, j)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        q, k, i, j = ctx.saved_tensors
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for part, a, b in _blocks(i, j):
            gradient = 2 * grads[0][part][:, None] * (q[a] - k[b])  # (block, d)
            grad_q.index_add_(0, a, gradient)
            grad_k.index_add_(0, b, gradient, alpha=-1)
        return grad_q, grad_k, None, None


def _blocks(i: Tensor, j: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield a list of pairs in blocks: the block's slice of the list, its query rows and its key rows."""
    for start in range(0, len(i), GATHER_BLOCK):
        part = slice(start, start + GATHER_BLOCK)
        yield part, i[part], j[part]
