"""Products and distances of listed cells of a matrix, holding a block of their rows' vectors at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

GATHER_BLOCK = 4096  # cells whose vectors are held at once
DENSE = 8  # where more than one cell in so many is listed, one product of all is far faster, and little to hold


def listed_products(z: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return z[i] . k[j] for listed rows, (e,)."""
    if DENSE * len(i) > len(z) * len(k):
        return (z @ k.T).flatten().gather(0, i * len(k) + j)
    products: Tensor = _Products.apply(z, k, i, j)
    return products


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(z, k, i, j)
        return torch.cat([z.new_empty(0), *((z[a] * k[b]).sum(1) for _, a, b in blocks(i, j))])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z, k, i, j = ctx.saved_tensors
        grad_z, grad_k = torch.zeros_like(z), torch.zeros_like(k)
        for part, a, b in blocks(i, j):
            g = grads[0][part][:, None]  # (block, 1)
            grad_z.index_add_(0, a, g * k[b])
            grad_k.index_add_(0, b, g * z[a])
        return grad_z, grad_k, None, None


def squared_distances(q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return |q[i] - k[j]|^2 for listed rows, (e,), never holding more than a block of (e, d)."""
    distances: Tensor = _SquaredDistances.apply(q, k, i, j)
    return distances


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, i, j)
        return torch.cat([(q[a] - k[b]).square().sum(1) for _, a, b in blocks(i, j)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        q, k, i, j = ctx.saved_tensors
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for part, a, b in blocks(i, j):
            slope = 2 * grads[0][part][:, None] * (q[a] - k[b])  # (block, d)
            grad_q.index_add_(0, a, slope)
            grad_k.index_add_(0, b, slope, alpha=-1)
        return grad_q, grad_k, None, None


def blocks(i: Tensor, j: Tensor, size: int = GATHER_BLOCK) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield a list of cells in blocks: where each lies, its query rows and its key rows."""
    for start in range(0, len(i), size):
        part = slice(start, start + size)
        yield part, i[part], j[part]
