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

from nearfar.abilities import AfterStep, RankParts
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Head, Positives
from nearfar.errors import RunError
from nearfar.pairs import Pairs
from nearfar.training.batches import PreparedBatch, StackedInputs, StepOutput
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.encode import CachedBatch, RowEncoder, WholeBatch, micro_batches
from nearfar.training.log import RunLogger
from nearfar.training.objective_terms import ObjectiveTerms
from nearfar.training.schedules import Schedules
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.train_module import Queue, Trained, update_momentum_copy_

ViewVectors = Mapping[str, Tensor]  # the vectors (n, d) of each view


@dataclass(frozen=True)
class TrainStep:
    """Makes a step: schedules, gradient, clipping, optimiser, learning rate, log. clip: the gradient's maximal norm.

    Errors: `RunError` where the loss, the gradient or, when checked, a weight is not finite; it names the batch's rows
    and the last good checkpoint.
    """

    gradient_step: GradientStep
    learning_rate: LambdaLR
    schedules: Schedules
    positives: Positives
    clip: float
    checkpointer: Checkpointer
    logger: RunLogger

    def __call__(self, step: int, batch: PreparedBatch) -> tuple[float, float]:
        """Make step `step` (from 1); return the loss and the gradient's norm."""
        train_state = self.gradient_step.train_state
        scheduled = self.schedules.before_step(step - 1) if self.schedules.are_any else {}
        output = self.gradient_step(batch)
        gradient_norm, loss = train_state.clip(self.clip), output.loss.item()
        if not math.isfinite(loss + gradient_norm):
            raise self._failure(step, batch, loss, gradient_norm)
        used_rate = float(self.learning_rate.get_last_lr()[0])
        train_state.step()
        self.learning_rate.step()
        self.gradient_step.after_optimizer_step(batch, output, self.schedules.momentum)
        self.logger.log_step(step, output, batch.pairs, gradient_norm, used_rate, scheduled)
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
    """Computes the gradient of a batch: with heads, several ranks, gradient cache, momentum copies, queue, objective.

    Every rank holds the vectors of the whole batch and computes its part of the loss. The parts add up to the loss, so
    gradients are summed over ranks, never averaged: one synchronisation a step, as in DistributedDataParallel, which
    cannot be used because it averages, and because the gradient cache has a backward pass for every micro-batch.

    The heads, too, take the vectors of the whole batch on every rank. They are small, and so a batch norm in them has
    the statistics of the batch, whatever the ranks and micro-batches. `of_rows` are the modules that take this rank's
    rows only.
    """

    def __init__(
        self,
        train_state: TrainState,
        trained: Trained,
        positives: Positives,
        settings: Settings,
        device: torch.device,
        precision: str,
        ranks: Ranks | None = None,
    ) -> None:
        self.train_state, self.settings, self.ranks = train_state, settings, ranks or Ranks()
        self.positives = positives
        parts: dict[str, Any] = dict(cast("nn.ModuleDict", train_state.module).items())
        self.encoder, self.loss = trained.encoder, trained.loss
        self.projection, self.prediction = trained.heads.get("projection"), trained.heads.get("prediction")
        self.queue: Queue | None = parts.get("queue")
        self.momentum_projection: Head | None = parts.get("momentum_projection")
        self.momentum = parts.get("momentum")
        self.unit = self.loss is not None and self.loss.unit
        self.has_heads = self.projection is not None or self.prediction is not None
        self.of_rows = nn.ModuleList(parts[name] for name in ("encoder", "momentum", "objective") if name in parts)
        unit = self.unit and not self.has_heads  # else the heads' results are scaled
        self.encode = RowEncoder(self.encoder, unit, device, precision)
        self.encode_keys = RowEncoder(self.momentum or self.encoder, unit, device, precision)
        modules = cast("nn.Module", self.loss).modules() if self.loss is not None else ()
        self.stateful = [module for module in modules if isinstance(module, AfterStep)]
        self.objective = ObjectiveTerms.of(trained, self.encode, settings, self.ranks)

    def __call__(self, prepared: PreparedBatch) -> StepOutput:
        """Return the loss; its gradient, summed over the ranks, is then in the parameters' `grad`."""
        objective = None if self.objective is None else self.objective.backward(prepared, self.train_state)
        if self.loss is None:
            assert objective is not None
            output = StepOutput(objective)
        else:
            assert prepared.trained is not None
            encoded = self._encode(prepared.trained)
            output = self._loss_and_vector_gradients(encoded.vectors, prepared)
            encoded.backward()
            if objective is not None:
                output = StepOutput(output.loss + objective, output.queries, output.keys, objective)
        self.train_state.sum_gradients(self.ranks)
        return output

    def after_optimizer_step(self, prepared: PreparedBatch, output: StepOutput, momentum: float) -> None:
        """Move the loss's state and the momentum copies, and put the batch's keys into the queue."""
        if output.queries is None or output.keys is None:
            return
        for module in self.stateful:
            module.after_step(output.queries, output.keys)
        if self.momentum is not None:
            update_momentum_copy_(self.momentum, cast("nn.Module", self.encoder), momentum)
        if self.momentum_projection is not None:
            averaged, projection = cast("nn.Module", self.momentum_projection), cast("nn.Module", self.projection)
            update_momentum_copy_(averaged, projection, momentum)
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
        assert prepared.trained is not None
        gathered = self._gather(vectors, prepared.trained, prepared.sizes)
        # With several ranks the graph is cut after the gathering: this rank's part of the loss may not depend on every
        # view, but every rank must take part in the backward pass of each gathering.
        views = (
            gathered
            if self.ranks.world_size == 1
            else {view: t.detach().requires_grad_(t.requires_grad) for view, t in gathered.items()}
        )
        with self.encode.autocast():
            queries, own_keys = self.queries_and_keys(views, self.positives)  # (n, d), (m, d)
            keys = self._keys(own_keys, prepared)
            loss = self._loss_part(queries, keys, prepared.pairs)
        torch.autograd.backward(loss)
        cut = [view for view, tensor in views.items() if tensor is not gathered[view] and tensor.requires_grad]
        grads = [torch.zeros_like(views[view]) if (g := views[view].grad) is None else g for view in cut]
        if cut:
            torch.autograd.backward([gathered[view] for view in cut], grads)
        value = loss.detach().clone()
        if self.ranks.world_size > 1:
            self.ranks.all_reduce([value])
        if self.settings.keys == "neighbours":
            keys = own_keys  # the queue holds the keys themselves
        return StepOutput(value, queries.detach(), keys.detach())

    def queries_and_keys(self, views: ViewVectors, positives: Positives) -> tuple[Tensor, Tensor]:
        """Return the queries (n, d) and the keys (m, d) of the trained encoder's vectors, after the heads.

        Where queries and keys are the same rows, both are one tensor. Where `training.keys` is momentum, the trained
        encoder has encoded the query views only, and the keys stand for nothing.
        """
        headed = views if self.projection is None else self._headed(self.projection, views)
        queries = stack_views(headed, positives.query_views)
        same = positives.key_views == positives.query_views
        keys = queries if same else stack_views(headed, positives.key_views)
        if not self.has_heads:
            return queries, keys  # of unit length already
        unit_keys = self._to_unit(keys)
        if self.prediction is not None:
            return self._to_unit(self.prediction(queries)), unit_keys
        return (unit_keys if same else self._to_unit(queries)), unit_keys

    def _headed(self, head: Head, views: ViewVectors) -> ViewVectors:
        """Return the head's vectors of each view; all are its batch."""
        stacked = _exact(torch.cat(list(views.values())))
        return dict(zip(views, torch.split(head(stacked), [len(view) for view in views.values()]), strict=True))

    def _to_unit(self, vectors: Tensor) -> Tensor:
        """Return vectors as the loss wants them."""
        return normalize(_exact(vectors), dim=1) if self.unit else _exact(vectors)

    def _keys(self, keys: Tensor, prepared: PreparedBatch) -> Tensor:
        """Return the keys (m, d): the batch's, by the mode of `training.keys`, then the queued ones."""
        if prepared.momentum is not None:
            inputs = prepared.momentum.inputs
            vectors = self.encode_keys.without_graph(inputs, micro_batches(inputs, self.settings))
            gathered = self._gather(vectors, prepared.momentum, prepared.sizes)
            with torch.no_grad():
                head = self.momentum_projection
                views = gathered if head is None else self._headed(head, gathered)
                keys = stack_views(views, self.positives.key_views)
                keys = self._to_unit(keys) if self.has_heads else keys
        if self.settings.keys == "stopped":
            keys = keys.detach()
        if prepared.own is not None and self.queue is not None:
            filled = min(prepared.step * len(prepared.examples), len(self.queue.vectors))
            return self.queue.neighbours(keys, filled, prepared.own)
        if prepared.queued and self.queue is not None:
            return torch.cat([keys, self.queue.vectors[: prepared.queued]])
        return keys  # where queries are the keys, the very same tensor: a loss computes half of the similarity matrix

    def _gather(self, vectors: Tensor, stacked: StackedInputs, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return the vectors of each view on all ranks, from this rank's of all views (r, d)."""
        parts = torch.split(vectors, list(stacked.sizes.values()))
        views = zip(stacked.sizes, parts, strict=True)
        if self.ranks.world_size == 1:
            return dict(views)
        return {view: self.ranks.gather_rows(part, sizes[view]) for view, part in views}

    def _loss_part(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return this rank's summand of the loss; a loss without parts is computed by all, and divided."""
        assert self.loss is not None
        rank, world_size = self.ranks.rank, self.ranks.world_size
        if world_size == 1:
            return self.loss(queries, keys, pairs)
        if isinstance(self.loss, RankParts):
            return self.loss.part(queries, keys, pairs, rank, world_size)
        return self.loss(queries, keys, pairs) / world_size


def _exact(vectors: Tensor) -> Tensor:
    """Return vectors in fp32 at least."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def stack_views(views: ViewVectors, names: Sequence[str]) -> Tensor:
    """Return the vectors of some views, stacked (n, d); a view without rows in this batch is missing."""
    found = [views[name] for name in names if name in views]
    if not found:
        return next(iter(views.values()))[:0]
    return found[0] if len(found) == 1 else torch.cat(found)
