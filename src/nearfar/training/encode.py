"""Encoding the rows of a batch: in one forward pass, or by micro-batches with the gradient cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.abilities import is_padded
from nearfar.contracts import Encoder, Inputs
from nearfar.training.settings import Settings

RandomState = tuple[Tensor, Tensor | None]  # of the CPU, and of the GPU in use


@dataclass(frozen=True)
class RowEncoder:
    """Encodes inputs on a device, in a precision, and to unit length if `unit` is set."""

    encoder: Encoder
    unit: bool
    device: torch.device
    precision: str

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return vectors (n, d)."""
        with self.autocast():
            vectors = self.encoder(inputs.to(self.device))  # (n, d)
            exact = torch.promote_types(vectors.dtype, torch.float32)
            return normalize(vectors.to(exact), dim=1) if self.unit else vectors

    @torch.no_grad()
    def without_graph(self, inputs: Inputs, parts: Sequence[slice]) -> Tensor:
        """Return vectors (n, d) without gradient, encoded part by part."""
        return torch.cat([self(inputs[part]) for part in parts])

    def autocast(self) -> torch.autocast:
        """Return the context in which to compute in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


class WholeBatch:
    """All rows encoded in one forward pass, whose graph the backward pass of the loss goes through by itself."""

    def __init__(self, encode: RowEncoder, inputs: Inputs) -> None:
        self.vectors = encode(inputs)  # (n, d)

    def backward(self) -> None:
        """Do nothing: the encoder has its gradients."""


class CachedBatch:
    """The gradient cache (Gao et al. 2021, arXiv:2101.06983): micro-batches are encoded without a graph, then again.

    `vectors` are leaves of the loss's graph; `backward` takes their gradients through the encoder. The second forward
    pass of a micro-batch has the random state (dropout) and the buffers of the first, so it gives the same vectors.
    Buffers that a forward pass updates are updated once, and random numbers go on from where the first passes left
    them. An encoder whose vectors depend on the other rows (batch norm) is refused before it comes here.
    """

    def __init__(self, encode: RowEncoder, inputs: Inputs, parts: Sequence[slice]) -> None:
        self.encode, self.inputs, self.parts = encode, inputs, parts
        self.buffers = {name: b.clone() for name, b in cast("nn.Module", encode.encoder).named_buffers()}
        self.states: list[RandomState] = []
        vectors = []
        for part in parts:
            self.states.append(_random_state(encode.device))
            vectors.append(encode.without_graph(inputs, [part]))
        self.vectors = torch.cat(vectors).requires_grad_()  # (n, d)

    def backward(self) -> None:
        """Encode each micro-batch again, and add its gradient to the parameters' `grad`."""
        grad = self.vectors.grad  # (n, d)
        trainable = any(parameter.requires_grad for parameter in cast("nn.Module", self.encode.encoder).parameters())
        if grad is None or not trainable:
            return
        with torch.no_grad():
            for name, before in self.buffers.items():  # by name: a forward pass may have replaced the tensor
                cast("nn.Module", self.encode.encoder).get_buffer(name).copy_(before)
        gpu = [self.encode.device] if self.encode.device.type == "cuda" else []
        with torch.random.fork_rng(gpu):
            for part, state in zip(self.parts, self.states, strict=True):
                _set_random_state(self.encode.device, state)
                vectors = self.encode(self.inputs[part])
                if vectors.requires_grad:  # not so where all rows are a frozen tower's
                    torch.autograd.backward(vectors, grad[part])


def _random_state(device: torch.device) -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: RandomState) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def micro_batches(inputs: Any, settings: Settings) -> list[slice]:
    """Return the slices of the micro-batches: at most `micro_batch` rows and `micro_cost` tokens or pixels each.

    The cost of a micro-batch is the sum of its rows', or rows x longest row where the encoder pads to that (`padded`).
    A single row above the budget is a micro-batch of its own.
    """
    max_rows, budget = settings.micro_batch or len(inputs), settings.micro_cost
    costs = inputs.costs().tolist() if budget else [0] * len(inputs)
    padded = is_padded(inputs)
    starts, longest, total = [0], 0, 0
    for i, cost in enumerate(costs):
        longest, total = max(longest, cost), total + cost
        rows = i + 1 - starts[-1]
        if rows > 1 and (rows > max_rows or (rows * longest if padded else total) > budget > 0):
            starts.append(i)
            longest = total = cost
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(costs)])]
