"""Encoding the rows of a batch: at once with its graph, or by micro-batches whose graph is made again on the way back.

The gradient cache (Gao et al. 2021, arXiv:2101.06983): a loss needs the vectors of all rows, but their graphs may come
one after the other. First every micro-batch is encoded without a graph; the loss of all vectors gives each vector's
gradient; then each micro-batch is encoded again, with its graph, and its vectors' gradients go through that. The
gradient is that of the whole batch, the memory that of one micro-batch, the price a second forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.contracts import Encoder, Inputs

RandomState = tuple[Tensor, Tensor | None]  # of the CPU, and of the GPU in use


@dataclass(frozen=True)
class Encode:
    """An encoder as a step calls it: on its device, in its precision, onto the sphere where the loss wants that."""

    encoder: Encoder
    unit: bool
    device: torch.device
    precision: str

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return vectors (n, d)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            vectors = self.encoder(inputs.to(self.device))  # (n, d)
            exact = torch.promote_types(vectors.dtype, torch.float32)
            return normalize(vectors.to(exact), dim=1) if self.unit else vectors

    @torch.no_grad()
    def without_graph(self, inputs: Inputs, parts: Sequence[slice]) -> Tensor:
        """Return vectors (n, d), encoded part by part."""
        return torch.cat([self(inputs[part]) for part in parts])


class Whole:
    """All rows at once: the loss's backward pass goes on through the encoder by itself."""

    def __init__(self, encode: Encode, inputs: Inputs) -> None:
        self.vectors = encode(inputs)  # (n, d)

    def back(self) -> None:
        """Nothing is left to do."""


class Cached:
    """Micro-batches: `vectors` are leaves, and `back` takes their gradients through the encoder.

    A micro-batch is encoded both times under the same random state (dropout) and the same buffers, so that it gives the
    same vectors; buffers that a forward pass moves (BatchNorm's) move once, and random numbers go on from where the
    first pass left them.
    """

    def __init__(self, encode: Encode, inputs: Inputs, parts: Sequence[slice]) -> None:
        self.encode, self.inputs, self.parts = encode, inputs, parts
        self.buffers = {name: b.clone() for name, b in cast("nn.Module", encode.encoder).named_buffers()}
        self.states: list[RandomState] = []
        vectors = []
        for part in parts:
            self.states.append(_random_state(encode.device))
            vectors.append(encode.without_graph(inputs, [part]))
        self.vectors = torch.cat(vectors).requires_grad_()  # (n, d)

    def back(self) -> None:
        """Encode each micro-batch again, and add its gradient to the parameters'."""
        grad = self.vectors.grad
        learns = any(parameter.requires_grad for parameter in cast("nn.Module", self.encode.encoder).parameters())
        if grad is None or not learns:
            return
        with torch.no_grad():
            for name, before in self.buffers.items():  # by name: a forward pass may have put another in its place
                cast("nn.Module", self.encode.encoder).get_buffer(name).copy_(before)
        gpu = [self.encode.device] if self.encode.device.type == "cuda" else []
        with torch.random.fork_rng(gpu):
            for part, state in zip(self.parts, self.states, strict=True):
                _set_random_state(self.encode.device, state)
                vectors = self.encode(self.inputs[part])
                if vectors.requires_grad:  # rows of a frozen tower have nothing to learn
                    torch.autograd.backward(vectors, grad[part])


def _random_state(device: torch.device) -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: RandomState) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
