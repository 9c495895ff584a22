"""A transformer's modules made lean for a CPU: dropout by the word, activations in bf16 with fp32 weights."""

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

LOCAL = threading.local()  # what a thread that is in a forward pass wants; others may be in theirs
EXACT = (nn.LayerNorm, nn.Embedding)  # eat and keep fp32 weights whatever the type of activations
LEVELS = 256  # of a byte: a probability is rounded to so many parts
INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
INTEGERS[torch.float64] = torch.int64


class Linear(nn.Linear):
    """torch's linear layer, whose weights follow the type of what comes in: cast once a call, learnt in fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W' + b, (..., out)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return linear(x, self.weight.to(x.dtype), bias)


def replace_layers(module: nn.Module) -> bool:
    """Swap dropouts and linear layers in place; say whether bf16 activations may run through fp32 weights.

    They may where every weight belongs to a linear layer, a layer norm, an embedding, or a norm that can be told to
    return what it was given. Modules keep their names and weights, so what is saved is the same.
    """
    able = True
    for child in module.modules():
        if type(child) is nn.Dropout:
            child.__class__ = Dropout
        elif type(child) is nn.Linear:
            child.__class__ = Linear
        elif type(child).__name__.endswith("RMSNorm"):
            child.register_forward_hook(_restore_dtype)
        elif not isinstance(child, (*EXACT, Linear)) and any(True for _ in child.parameters(recurse=False)):
            able = False
    return able


def _restore_dtype(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
    return out.to(given[0].dtype)


@contextmanager
def activations_in(kind: torch.dtype) -> Iterator[None]:
    """Let what embeddings hand on be of another type: summed and normed in fp32, cast on the way out."""
    before, LOCAL.kind = getattr(LOCAL, "kind", None), kind
    try:
        with torch.autocast("cpu", enabled=False):  # it would norm and add in fp32, and cast each time anew
            yield
    finally:
        LOCAL.kind = before


def cast_embeddings(_: nn.Module, __: tuple[Any, ...], out: Tensor) -> Tensor:
    """Hook after the embeddings: cast in `activations_in`."""
    kind = getattr(LOCAL, "kind", None)
    return out if kind is None else out.to(kind)


def effective_rate(p: float) -> float:
    """Return the probability that a mask drawn for `p` has: a whole number of 256ths, and not zero."""
    return min(LEVELS - 1, max(1, round(p * LEVELS))) / LEVELS if p > 0 else 0.0


def draw_seed() -> int:
    """Return a seed from torch's own random state, so that whoever restores that gets the same masks again."""
    return int(torch.empty((), dtype=torch.int64).random_())


def byte_dropout(generator: np.random.BitGenerator, shape: Sequence[int], p: float, kind: torch.dtype) -> Tensor:
    """Return integers whose sign bit alone is set where an entry is dropped, as wide as numbers of type `kind`."""
    size = prod(shape)
    words = generator.random_raw(-(-size // 8))
    integers = torch.from_numpy(words.view(np.int8)[:size]).view(*shape).to(INTEGERS[kind])
    lowest = torch.iinfo(integers.dtype).min
    return integers.add_(LEVELS // 2 - round(effective_rate(p) * LEVELS)).bitwise_and_(lowest)


class _Drop(torch.autograd.Function):
    """x -> x * mask / (1 - p). The mask is drawn again on the way back, from the seed: it is never kept."""

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
    keep = signs.bitwise_right_shift_(width).bitwise_not_()  # all bits set where an entry stays, none where it goes
    return keep.bitwise_and_(x.contiguous().view(keep.dtype)).view(x.dtype).mul_(1 / (1 - effective_rate(p)))


class Dropout(nn.Dropout):
    """torch's dropout, with the masks of `dropped` on a CPU, where torch draws entry by entry (a third of a step)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (any shape) with entries dropped while training."""
        if not self.training or self.p == 0 or x.device.type != "cpu" or x.dtype not in INTEGERS or self.p >= 1:
            return super().forward(x)
        y: Tensor = _Drop.apply(x, self.p, draw_seed())
        return y
