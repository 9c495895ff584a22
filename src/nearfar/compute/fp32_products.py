"""Products of matrices and linear layers in fp32 by oneDNN, on CPUs where MKL, which torch asks, is slow.

MKL keeps its AVX-512 kernels for Intel's CPUs. On AMD's, a layer that MKL computes at 130 to 200 GFLOP/s takes oneDNN
at 190 to 450. Both compute in fp32, and differ by its rounding.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LEAST_WORK = 1 << 20  # multiplications: in a product of fewer, what oneDNN takes to begin is more than it saves


@cache
def onednn_fp32() -> bool:
    """Return whether fp32 matrices are multiplied faster by oneDNN than by MKL: on AMD's CPUs with AVX-512."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:  # not Linux
        return False
    return "AuthenticAMD" in flags and "avx512f" in flags and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def suits_onednn(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN is to compute x W': both in fp32 on such a CPU, neither empty, recorded by no exporter."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch has no types for it
    if tracing or type(x) not in (Tensor, nn.Parameter):
        return False  # a subclass stands for what an exporter records
    if any(one.dtype != torch.float32 or one.device.type != "cpu" or not one.numel() for one in (x, weight)):
        return False
    return onednn_fp32() and not torch.is_autocast_enabled("cpu")


def suits_product(a: Tensor, b: Tensor) -> bool:
    """Return whether oneDNN is to compute a b', of matrices a (n, k) and b (m, k): large enough, and `suits_onednn`."""
    return suits_onednn(a, b) and a.numel() * len(b) >= _LEAST_WORK


def product(a: Tensor, b: Tensor, memory: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return a b' (n, m), of matrices a (n, k) and b (m, k): by oneDNN where that is faster, else by torch.

    It has a gradient, but on such CPUs no second one. memory: (n, m), where the result may be written, without a
    gradient; oneDNN takes its own, so use what is returned. bias: (m,), added to each row.
    """
    if not suits_product(a, b):
        return torch.mm(a, b.t(), out=memory) if bias is None else torch.addmm(bias, a, b.t(), out=memory)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (a, b, bias)):
        differentiable: Tensor = _OneDnnLinear.apply(a, b, bias)
        return differentiable
    return _matrix_product(a, b) if bias is None else _product(a, b, bias)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b' to a total (n, m) of the same type, in place, without a gradient."""
    if suits_product(a, b):
        total += _matrix_product(a, b)
    else:
        total.addmm_(a, b.t())


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x W' + b, (..., out), of x (..., in), weight (out, in) and bias (out,)."""
    if not torch.is_grad_enabled():
        return _product(x, weight, bias)
    y: Tensor = _OneDnnLinear.apply(x, weight, bias)
    return y


def replace_linear_layers(module: nn.Module) -> None:
    """Let a network's linear layers ask oneDNN where that is faster; they keep their names and weights."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    """torch's linear layer, by oneDNN where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W' + b, (..., out)."""
        return onednn_linear(x, self.weight, self.bias) if suits_onednn(x, self.weight) else super().forward(x)


class _OneDnnLinear(torch.autograd.Function):
    """y = x W' + b; with g = dy: dx = g W, dW = g' x, db = the sum of g's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _matrix_product(x, weight) if bias is None and x.ndim == 2 else _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        dx = _product(grad, weight.t()) if needs_x else None
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])  # (n, out), (n, in)
        dw = _matrix_product(rows.t(), inputs.t()).contiguous() if needs_weight else None
        return dx, dw, rows.sum(0) if needs_bias else None


def _matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b' (n, m), maybe as a view of b a': oneDNN copies its first matrix where that is not contiguous."""
    if a.is_contiguous() or (not b.is_contiguous() and a.shape[0] <= b.shape[0]):
        return _product(a, b)
    return _product(b, a).t()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y
