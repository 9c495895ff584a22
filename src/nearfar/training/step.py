"""A training step: encode, gather the vectors of all ranks, compute the loss and its gradients, update the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim.lr_scheduler import LambdaLR

from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Inputs, Loss, Positives
from nearfar.errors import RunError
from nearfar.pairs import Pairs
from nearfar.training.batches import PreparedBatch, StackedInputs, StepOutput
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.log import RunLogger
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.train_module import update_momentum_copy_

Views = dict[str, Tensor]  # the vectors (n, d) of each view
RandomState = tuple[Tensor, Tensor | None]  # of the CPU, and of the GPU in use


@dataclass(frozen=True)
class TrainStep:
    """Makes a step: gradient, clipping, optimiser, learning rate, log. clip: the maximal norm of the gradient.

    Errors: `RunError` where the loss, the gradient or, when checked, a weight is not finite; it names the batch's rows
    and the last good checkpoint.
    """

    gradient_step: GradientStep
    learning_rate: LambdaLR
    positives: Positives
    clip: float
    checkpointer: Checkpointer
    logger: RunLogger

    def __call__(self, step: int, batch: PreparedBatch) -> tuple[float, float]:
        """Make step `step` (from 1); return the loss and the gradient's norm."""
        train_state = self.gradient_step.train_state
        output = self.gradient_step(batch)
        gradient_norm, loss = train_state.clip(self.clip), output.loss.item()
        if not math.isfinite(loss + gradient_norm):
            raise self._failure(step, batch, loss, gradient_norm)
        used_rate = float(self.learning_rate.get_last_lr()[0])
        train_state.step()
        self.learning_rate.step()
        self.gradient_step.after_optimizer_step(batch, output)
        self.logger.log_step(step, output, batch.pairs, gradient_norm, used_rate)
        return loss, gradient_norm

    def refuse_infinite_weights(self, step: int, batch: PreparedBatch, loss: float, gradient_norm: float) -> None:
        """Raise an error if a step left weights that are not finite, before they are saved or used."""
        if not self.gradient_step.train_state.is_finite():
            raise self._failure(step, batch, loss, gradient_norm)

    def _failure(self, step: int, batch: PreparedBatch, loss: float, gradient_norm: float) -> RunError:
        described = zip(batch.examples.tolist(), self.positives.describe(batch.examples), strict=True)
        rows = [facts.get("row", example + 1) for example, facts in described]
        return self.logger.failure(step, loss, gradient_norm, rows, self.checkpointer.last)


class GradientStep:
    """Computes the gradient of the loss of a batch: with several ranks, gradient cache, momentum encoder and queue.

    Every rank holds the vectors of the whole batch and computes its part of the loss. The parts add up to the loss, so
    gradients are summed over ranks, never averaged: one synchronisation a step, as in DistributedDataParallel, which
    cannot be used because it averages, and because the gradient cache has a backward pass for every micro-batch.
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

    def __call__(self, prepared: PreparedBatch) -> StepOutput:
        """Return the loss; its gradient, summed over the ranks, is then in the parameters' `grad`."""
        encoded = self._encode(prepared.trained)
        output = self._loss_and_vector_gradients(encoded.vectors, prepared)
        encoded.backward()
        self.train_state.sum_gradients(self.ranks)
        return output

    def after_optimizer_step(self, prepared: PreparedBatch, output: StepOutput) -> None:
        """Clamp the loss's parameters, update the momentum encoder, and put the batch's keys into the queue."""
        clamp(self.loss)
        if self.momentum is not None:
            update_momentum_copy_(self.momentum, self.encoder, self.settings.momentum)
        if self.queue is not None:
            batch_size = len(prepared.examples)
            positive_index = (
                slice(batch_size)
                if prepared.positive_index is None
                else torch.from_numpy(prepared.positive_index).to(output.keys.device)
            )
            self.queue.put(prepared.step * batch_size, output.keys[positive_index])

    def _encode(self, stacked: StackedInputs) -> WholeBatch | CachedBatch:
        if not (self.settings.micro_batch or self.settings.micro_cost):
            return WholeBatch(self.encode, stacked.inputs)
        return CachedBatch(self.encode, stacked.inputs, micro_batches(stacked.inputs, self.settings))

    def _loss_and_vector_gradients(self, vectors: Tensor, prepared: PreparedBatch) -> StepOutput:
        """Return the loss of the batch, given this rank's vectors (r, d); do the backward pass down to them.

        Where they are not leaves (`WholeBatch`), it goes on through the encoder.
        """
        gathered = self._gather(vectors, prepared.trained, prepared.sizes)
        # With several ranks the graph is cut after the gathering: this rank's part of the loss may not depend on every
        # view, but every rank must take part in the backward pass of each gathering.
        views = (
            gathered
            if self.ranks.world_size == 1
            else {view: t.detach().requires_grad_(t.requires_grad) for view, t in gathered.items()}
        )
        queries = stack_views(views, self.query_views)  # (n, d)
        keys = self._keys(views, queries, prepared)  # (m, d)
        with torch.autocast(self.encode.device.type, torch.bfloat16, enabled=self.encode.precision == "bf16"):
            loss = self._loss_part(queries, keys, prepared.pairs)
        torch.autograd.backward(loss)
        cut = [view for view, tensor in views.items() if tensor is not gathered[view] and tensor.requires_grad]
        grads = [torch.zeros_like(views[view]) if (g := views[view].grad) is None else g for view in cut]
        if cut:
            torch.autograd.backward([gathered[view] for view in cut], grads)
        value = loss.detach().clone()
        if self.ranks.world_size > 1:
            self.ranks.all_reduce([value])
        return StepOutput(value, queries.detach(), keys.detach())

    def _keys(self, views: Views, queries: Tensor, prepared: PreparedBatch) -> Tensor:
        """Return the keys (m, d): the batch's, by the momentum encoder where there is one, then the queued ones."""
        if prepared.momentum is not None:
            inputs = prepared.momentum.inputs
            vectors = self.encode_keys.without_graph(inputs, micro_batches(inputs, self.settings))
            views = self._gather(vectors, prepared.momentum, prepared.sizes)
        elif self.key_views == self.query_views and not prepared.queued:
            return queries  # the very same tensor, so that a loss computes half of the similarity matrix
        keys = stack_views(views, self.key_views)
        return torch.cat([keys, self.queue.vectors[: prepared.queued]]) if prepared.queued else keys

    def _gather(self, vectors: Tensor, stacked: StackedInputs, sizes: Mapping[str, int]) -> Views:
        """Return the vectors of each view on all ranks, from this rank's of all views (r, d)."""
        parts = torch.split(vectors, list(stacked.sizes.values()))
        views = zip(stacked.sizes, parts, strict=True)
        if self.ranks.world_size == 1:
            return dict(views)
        return {view: self.ranks.gather_rows(part, sizes[view]) for view, part in views}

    def _loss_part(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return this rank's summand of the loss; a loss without parts is computed by all, and divided."""
        rank, world_size = self.ranks.rank, self.ranks.world_size
        if world_size == 1:
            return self.loss(queries, keys, pairs)
        if hasattr(self.loss, "part"):
            part: Tensor = cast("Any", self.loss).part(queries, keys, pairs, rank, world_size)
            return part
        return self.loss(queries, keys, pairs) / world_size


def stack_views(views: Views, names: Sequence[str]) -> Tensor:
    """Return the vectors of some views, stacked (n, d); those of a data set without rows in this batch are missing."""
    found = [views[name] for name in names if name in views]
    return found[0] if len(found) == 1 else torch.cat(found)


def clamp(loss: Any) -> None:
    """Clamp the learnt parameters of a loss and of the modules in it, where they have a range (`clamp_`)."""
    for module in loss.modules():
        if hasattr(module, "clamp_"):
            module.clamp_()


@dataclass(frozen=True)
class RowEncoder:
    """Encodes inputs as the loss wants them: on a device, in a precision, and of unit length if `unit` is set."""

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
        """Return vectors (n, d) without gradient, encoded part by part."""
        return torch.cat([self(inputs[part]) for part in parts])


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
    Buffers that a forward pass updates (BatchNorm's) are updated once, and random numbers go on from where the first
    passes left them.
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


def micro_batches(inputs: Inputs, settings: Settings) -> list[slice]:
    """Return the slices of the micro-batches: at most `micro_batch` rows and `micro_cost` tokens or pixels each.

    The cost of a micro-batch is the sum of its rows', or rows x longest row where the encoder pads to that (`padded`).
    A single row above the budget is a micro-batch of its own.
    """
    max_rows, budget = settings.micro_batch or len(inputs), settings.micro_cost
    costs = inputs.costs().tolist() if budget else [0] * len(inputs)
    padded = getattr(inputs, "padded", True)
    starts, longest, total = [0], 0, 0
    for i, cost in enumerate(costs):
        longest, total = max(longest, cost), total + cost
        rows = i + 1 - starts[-1]
        if rows > 1 and (rows > max_rows or (rows * longest if padded else total) > budget > 0):
            starts.append(i)
            longest = total = cost
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(costs)])]
