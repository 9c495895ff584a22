"""A transformer's layers replaced by faster ones for a CPU: bf16 activations over fp32 weights, and cheaper dropout.

`replace_layers` swaps the classes in place; `activations_in` and the hook `cast_embeddings` let a forward pass run in
bf16; `Dropout` draws its masks from random 64-bit words, a byte for each entry, as attention does (`byte_dropout`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from nearfar.compute.fp32_products import onednn_linear, suits_onednn

LOCAL = threading.local()  # the type of activations in this thread's forward pass; other threads may run others
FP32_LAYERS = (nn.LayerNorm, nn.Embedding)  # keep fp32 weights, and take activations of any type
LEVELS = 256  # of a byte: a dropout probability is rounded to so many parts
# The integer type as wide as each float type, for operations on bits.
INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
INTEGERS[torch.float64] = torch.int64


def replace_layers(module: nn.Module) -> bool:
    """Replace dropouts and linear layers in place; return whether bf16 activations may run through fp32 weights.

    They may where every weight belongs to a linear layer, a layer norm, an embedding, or an RMS norm (a hook makes it
    return the type that it was given). Modules keep their names and weights, so what is saved is the same.
    """
    bf16 = True
    for child in module.modules():
        if type(child) is nn.Dropout:
            child.__class__ = Dropout
        elif type(child) is nn.Linear:
            child.__class__ = Linear
        elif type(child).__name__.endswith("RMSNorm"):
            child.register_forward_hook(_restore_dtype)
        elif not isinstance(child, (*FP32_LAYERS, Linear)) and any(True for _ in child.parameters(recurse=False)):
            bf16 = False
    return bf16


def _restore_dtype(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
    return out.to(given[0].dtype)


@contextmanager
def activations_in(dtype: torch.dtype) -> Iterator[None]:
    """Let the embeddings return activations of another type (`cast_embeddings`), which all later layers keep."""
    before, LOCAL.dtype = getattr(LOCAL, "dtype", None), dtype
    try:
        with torch.autocast("cpu", enabled=False):  # it would normalise and add in fp32, and cast each time
            yield
    finally:
        LOCAL.dtype = before


def cast_embeddings(_: nn.Module, __: tuple[Any, ...], out: Tensor) -> Tensor:
    """Cast what the embeddings return, inside `activations_in`: a forward hook. They sum and normalise in fp32."""
    dtype = getattr(LOCAL, "dtype", None)
    return out if dtype is None else out.to(dtype)


class Linear(nn.Linear):
    """torch's linear layer in the type of its input: the weights are cast in each call, and trained in fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W' + b, (..., out)."""
        if suits_onednn(x, self.weight):
            return onednn_linear(x, self.weight, self.bias)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return linear(x, self.weight.to(x.dtype), bias)


class Dropout(nn.Dropout):
    """torch's dropout with the masks of `byte_dropout` on a CPU, where torch's own masks take a third of a step."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (any shape) with entries dropped while training."""
        if not self.training or self.p == 0 or x.device.type != "cpu" or x.dtype not in INTEGERS or self.p >= 1:
            return super().forward(x)
        y: Tensor = _Drop.apply(x, self.p, draw_seed())
        return y


class _Drop(torch.autograd.Function):
    """x -> x * mask / (1 - p). The backward pass draws the mask again from the seed, so it is never stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: int) -> Tensor:
        ctx.p, ctx.seed = p, seed
        return _masked(x, p, seed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _masked(grad, ctx.p, ctx.seed), None, None


def _masked(x: Tensor, p: float, seed: int) -> Tensor:
    signs = byte_dropout(np.random.SFC64(seed), x.shape, p, x.dtype)
    width = 8 * x.element_size() - 1
    keep = signs.bitwise_right_shift_(width).bitwise_not_()  # all bits of an entry set, none where it is dropped
    return keep.bitwise_and_(x.contiguous().view(keep.dtype)).view(x.dtype).mul_(1 / (1 - effective_rate(p)))


def byte_dropout(generator: np.random.BitGenerator, shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """Return a mask (shape): integers as wide as `dtype`, with the sign bit alone set where an entry is dropped."""
    size = prod(shape)
    words = generator.random_raw(-(-size // 8))
    integers = torch.from_numpy(words.view(np.int8)[:size]).view(*shape).to(INTEGERS[dtype])
    sign_bit = torch.iinfo(integers.dtype).min
    return integers.add_(LEVELS // 2 - round(effective_rate(p) * LEVELS)).bitwise_and_(sign_bit)


def effective_rate(p: float) -> float:
    """Return the probability that a mask drawn for `p` has: a whole number of 256ths, and not zero."""
    return min(LEVELS - 1, max(1, round(p * LEVELS))) / LEVELS if p > 0 else 0.0


def draw_seed() -> int:
    """Return a seed from torch's random state, so that restoring that state gives the same masks again."""
    return int(torch.empty((), dtype=torch.int64).random_())
