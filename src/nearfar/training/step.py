"""One step: encode this rank's rows, gather the vectors of all, compare, and leave the gradients in the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Inputs, Loss, Positives
from nearfar.pairs import Pairs
from nearfar.training.batches import PreparedBatch, Share
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.train_module import update_momentum_copy_

Views = dict[str, Tensor]
RandomState = tuple[Tensor, Tensor | None]  # of the CPU, and of the GPU in use


@dataclass(frozen=True)
class Outcome:
    """What a step compared: the loss (a scalar) of queries (n, d) and keys (m, d), those of all ranks."""

    loss: Tensor
    queries: Tensor
    keys: Tensor


class GradientStep:
    """The machinery around encoder and loss: ranks, gradient cache, momentum keys, queue.

    Every rank holds the whole batch's vectors and computes its part of the loss. Parts add up to the loss, so gradients
    are summed over ranks, never averaged: the same single synchronisation as DistributedDataParallel's, which stands
    aside because it averages, and because cached micro-batches go back through the encoder many times a step.
    """

    def __init__(
        self,
        train_state: TrainState,
        positives: Positives,
        settings: Settings,
        device: torch.device,
        precision: str,
        ranks: Ranks | None = None,
    ) -> None:
        self.train_state, self.settings, self.ranks = train_state, settings, ranks or Ranks()
        self.query_views, self.key_views = positives.query_views, positives.key_views
        parts: Any = dict(cast("Any", train_state.module).items())
        self.loss: Loss = parts["loss"]
        self.queue, self.momentum, self.encoder = parts.get("queue"), parts.get("momentum"), parts["encoder"]
        self.encode = RowEncoder(self.encoder, self.loss.unit, device, precision)
        self.encode_keys = RowEncoder(self.momentum, self.loss.unit, device, precision)

    def __call__(self, prepared: PreparedBatch) -> Outcome:
        """Return the loss; its gradient, summed over the ranks, is in the parameters."""
        encoded = self._encoded(prepared.trained)
        outcome = self._compared(encoded.vectors, prepared)
        encoded.back()
        self.train_state.sum_gradients(self.ranks)
        return outcome

    def moved(self, prepared: PreparedBatch, outcome: Outcome) -> None:
        """Do what follows the optimiser's step: bring the loss back into its range, the average and the queue on."""
        clamp(self.loss)
        if self.momentum is not None:
            update_momentum_copy_(self.momentum, self.encoder, self.settings.momentum)
        if self.queue is not None:
            size = len(prepared.examples)
            own = (
                slice(size)
                if prepared.positive_index is None
                else torch.from_numpy(prepared.positive_index).to(outcome.keys.device)
            )
            self.queue.put(prepared.step * size, outcome.keys[own])

    def _encoded(self, share: Share) -> WholeBatch | CachedBatch:
        if not (self.settings.micro_batch or self.settings.micro_cost):
            return WholeBatch(self.encode, share.inputs)
        return CachedBatch(self.encode, share.inputs, micro_batches(share.inputs, self.settings))

    def _compared(self, vectors: Tensor, prepared: PreparedBatch) -> Outcome:
        """Return the loss of this rank's vectors with all the others'; each vector has its gradient then."""
        whole = self._gathered(vectors, prepared.trained, prepared.sizes)
        # The graph is cut where ranks meet: a part of the loss may not reach every view, but all must gather gradients.
        cut = (
            whole
            if self.ranks.world_size == 1
            else {v: t.detach().requires_grad_(t.requires_grad) for v, t in whole.items()}
        )
        queries = stacked(cut, self.query_views)  # (n, d)
        keys = self._keys(cut, queries, prepared)  # (m, d)
        with torch.autocast(self.encode.device.type, torch.bfloat16, enabled=self.encode.precision == "bf16"):
            loss = self._part(queries, keys, prepared.pairs)
        torch.autograd.backward(loss)
        reached = [view for view, tensor in cut.items() if tensor is not whole[view] and tensor.requires_grad]
        grads = [torch.zeros_like(cut[v]) if (g := cut[v].grad) is None else g for v in reached]
        if reached:
            torch.autograd.backward([whole[view] for view in reached], grads)
        value = loss.detach().clone()
        self.ranks.sum_([value])
        return Outcome(value, queries.detach(), keys.detach())

    def _keys(self, views: Views, queries: Tensor, prepared: PreparedBatch) -> Tensor:
        """Return the keys (m, d): the batch's, by the momentum encoder where there is one, then the queued ones."""
        if prepared.momentum is not None:
            share = prepared.momentum
            vectors = self.encode_keys.without_graph(share.inputs, micro_batches(share.inputs, self.settings))
            views = self._gathered(vectors, share, prepared.sizes)
        elif self.key_views == self.query_views and not prepared.queued:
            return queries  # the very same tensor: a loss then visits half of its tiles
        keys = stacked(views, self.key_views)
        return torch.cat([keys, self.queue.vectors[: prepared.queued]]) if prepared.queued else keys

    def _gathered(self, vectors: Tensor, share: Share, sizes: Mapping[str, int]) -> Views:
        """Return each view's vectors of all ranks, from this rank's of all views."""
        parts = torch.split(vectors, list(share.sizes.values()))
        return {view: self.ranks.gather(part, sizes[view]) for view, part in zip(share.sizes, parts, strict=True)}

    def _part(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return this rank's summand of the loss: of one that cannot be divided, which all compute, a share."""
        rank, world_size = self.ranks.rank, self.ranks.world_size
        if world_size == 1:
            return self.loss(queries, keys, pairs)
        if hasattr(self.loss, "part"):
            part: Tensor = cast("Any", self.loss).part(queries, keys, pairs, rank, world_size)
            return part
        return self.loss(queries, keys, pairs) / world_size


def stacked(views: Views, names: Sequence[str]) -> Tensor:
    """Return the vectors of some views one after the other."""
    here = [views[name] for name in names if name in views]  # a data set of several may have no rows in this batch
    return here[0] if len(here) == 1 else torch.cat(here)


def clamp(loss: Any) -> None:
    """Let a loss, and the modules in it, bring learnt parameters back into their range, where they have such."""
    for part in loss.modules():
        if hasattr(part, "clamp_"):
            part.clamp_()


@dataclass(frozen=True)
class RowEncoder:
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


class WholeBatch:
    """All rows at once: the loss's backward pass goes on through the encoder by itself."""

    def __init__(self, encode: RowEncoder, inputs: Inputs) -> None:
        self.vectors = encode(inputs)  # (n, d)

    def back(self) -> None:
        """Nothing is left to do."""


class CachedBatch:
    """Micro-batches: `vectors` are leaves, and `back` takes their gradients through the encoder.

    A micro-batch is encoded both times under the same random state (dropout) and the same buffers, so that it gives the
    same vectors; buffers that a forward pass moves (BatchNorm's) move once, and random numbers go on from where the
    first pass left them.
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


def micro_batches(inputs: Inputs, settings: Settings) -> list[slice]:
    """Return consecutive rows that are encoded at once: at most `micro_batch` rows, and `micro_cost` tokens or pixels.

    What they cost is their sum, or rows x longest row where the encoder pads to that (`padded`). A single row above the
    budget goes alone.
    """
    rows, budget = settings.micro_batch or len(inputs), settings.micro_cost
    costs = inputs.costs().tolist() if budget else [0] * len(inputs)
    padded = getattr(inputs, "padded", True)
    cuts, longest, spent = [0], 0, 0
    for i, cost in enumerate(costs):
        longest, spent = max(longest, cost), spent + cost
        size = i + 1 - cuts[-1]
        if size > 1 and (size > rows or (size * longest if padded else spent) > budget > 0):
            cuts.append(i)
            longest = spent = cost
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(costs)])]
