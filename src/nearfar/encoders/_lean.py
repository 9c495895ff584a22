"""A transformer's modules made lean for a CPU: dropout by the word, activations in bf16 with fp32 weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from nearfar.encoders._dropout import Dropout

LOCAL = threading.local()  # what a thread that is in a forward pass wants; others may be in theirs
EXACT = (nn.LayerNorm, nn.Embedding)  # eat and keep fp32 weights whatever the type of activations


class Linear(nn.Linear):
    """torch's linear layer, whose weights follow the type of what comes in: cast once a call, learnt in fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W' + b, (..., out)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return linear(x, self.weight.to(x.dtype), bias)


def lean(module: nn.Module) -> bool:
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
            child.register_forward_hook(_as_it_came)
        elif not isinstance(child, (*EXACT, Linear)) and any(True for _ in child.parameters(recurse=False)):
            able = False
    return able


def _as_it_came(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
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
