"""The module that a run trains: encoder and loss, with a queue and a momentum encoder where they are asked for."""

from __future__ import annotations

import copy
import inspect
from typing import cast

import torch
from torch import Tensor, nn

from nearfar import registry
from nearfar.column import Ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.errors import InputError
from nearfar.training.mixture import Mixture
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings


def build_train_module(encoder: Encoder, loss: Loss, settings: Settings) -> nn.ModuleDict:
    """Return one module of all that a checkpoint holds: "encoder", "loss", "momentum" (encoder) and "queue"."""
    trained = cast("nn.Module", encoder)
    parts = {"encoder": trained, "loss": cast("nn.Module", loss)}
    if settings.momentum:
        _refuse_momentum_of_key_tower(encoder)
        parts["momentum"] = momentum_copy(trained)
    if settings.queue:
        dtypes = (p.dtype for p in trained.parameters() if p.is_floating_point())
        dtype = torch.promote_types(next(dtypes, torch.float32), torch.float32)
        parts["queue"] = Queue(settings.queue, encoder.dim, dtype)
    return nn.ModuleDict(parts)


def refuse_incompatible(positives: Positives, loss: Loss, settings: Settings, ranks: Ranks | None = None) -> None:
    """Refuse parts that cannot be trained with these settings, before any data is read.

    Errors: `InputError` for micro-batches with a loss that is not a function of the vectors alone, for a queue with
    positives that do not take queued keys, and for a batch with fewer examples than ranks.
    """
    batch_size, world_size = min(settings.batch_size, len(positives)), 1 if ranks is None else ranks.world_size
    if batch_size < world_size:
        raise InputError(
            f"training.batch_size: {batch_size} examples are too few for {world_size} ranks; start fewer, or give more"
        )
    if (settings.micro_batch or settings.micro_cost) and not getattr(loss, "cacheable", False):
        raise InputError(
            f"training.micro_batch: losses.{registry.name_of(type(loss))} is not a function of the batch's vectors "
            "alone, so its gradient cannot be cached; leave micro_batch and micro_cost out, or take another loss"
        )
    for part in positives.parts if isinstance(positives, Mixture) else [positives]:
        if settings.queue and "queued" not in inspect.signature(part.batch).parameters:
            raise InputError(
                f"training.queue: positives.{registry.name_of(type(part))} does not take queued keys; "
                "leave training.queue out, or take other positives"
            )


def _refuse_momentum_of_key_tower(encoder: Encoder) -> None:
    """Refuse a momentum encoder where the encoder has a trainable key tower: no gradient would ever reach that tower.

    Keys then come from the tower's running average alone. A frozen key tower is fine.
    """
    tower = getattr(encoder, "towers", {}).get("key")
    if tower is not None and any(p.requires_grad for p in tower.parameters()):
        raise InputError(
            "training.momentum: keys come from the average of the key tower, which would itself learn nothing; leave "
            "training.momentum out (training.queue works without), or take one encoder for both sides"
        )


class Queue(nn.Module):
    """The vectors of the last `size` keys, a buffer that is saved in checkpoints.

    With a momentum encoder it is MoCo's queue (He et al. 2020, arXiv:1911.05722), without one the cross-batch memory
    (Wang et al. 2020, arXiv:1912.06798). A key's place is its example's position in the sampler's stream modulo the
    size, so which example's key is where depends on seed and step only, and is known while the batch is read.
    """

    vectors: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim, dtype=dtype))

    def put(self, start: int, keys: Tensor) -> None:
        """Replace the oldest keys by the keys (b, d) of the examples from position `start` of the stream on."""
        size = len(self.vectors)
        newest = keys[-size:].detach().to(self.vectors.dtype)
        places = torch.arange(start + len(keys) - len(newest), start + len(keys), device=newest.device) % size
        self.vectors.index_copy_(0, places, newest)


def queued_examples(sampler: Sampler, step: int, size: int) -> Ids:
    """Return the examples whose keys are in the queue when a step (from 0) begins, in the queue's order."""
    stop = step * sampler.batch_size
    start = max(0, stop - size)
    return torch.from_numpy(sampler.stream(start, stop)).roll(start % size).numpy()


def momentum_copy(encoder: nn.Module) -> nn.Module:
    """Return a copy that no optimiser trains."""
    return copy.deepcopy(encoder).requires_grad_(False)


@torch.no_grad()
def update_momentum_copy_(average: nn.Module, encoder: nn.Module, momentum: float) -> None:
    """Update the average of the encoder's weights: average = momentum average + (1 - momentum) encoder.

    He et al. 2020, arXiv:1911.05722, equation 2. Buffers are not averaged: the average's own forward passes update its.
    """
    for averaged, weight in zip(average.parameters(), encoder.parameters(), strict=True):
        averaged.lerp_(weight, 1 - momentum)
