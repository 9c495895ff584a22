"""What a run trains: encoder and loss, with the queue and the momentum copy where they are asked for."""

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
    """Return one module of all that a checkpoint keeps; only "encoder" ships, queue and momentum are not learnt."""
    learnt = cast("nn.Module", encoder)
    parts = {"encoder": learnt, "loss": cast("nn.Module", loss)}
    if settings.momentum:
        _refuse_idle_tower(encoder)
        parts["momentum"] = momentum_copy(learnt)
    if settings.queue:
        weights = (p.dtype for p in learnt.parameters() if p.is_floating_point())
        parts["queue"] = Queue(
            settings.queue, encoder.dim, torch.promote_types(next(weights, torch.float32), torch.float32)
        )
    return nn.ModuleDict(parts)


def refuse_unfit(positives: Positives, loss: Loss, settings: Settings, ranks: Ranks | None = None) -> None:
    """Refuse, by name and before anything is read, parts that the asked-for machinery cannot serve.

    Errors: `InputError` for micro-batches with a loss that is no function of the vectors alone, for a queue with
    positives that do not know the keys in it, and for a batch that leaves a rank without an example.
    """
    size, world_size = min(settings.batch_size, len(positives)), 1 if ranks is None else ranks.world_size
    if size < world_size:
        raise InputError(
            f"training.batch_size: {size} examples are too few for {world_size} ranks; start fewer, or give more"
        )
    if (settings.micro_batch or settings.micro_cost) and not getattr(loss, "cacheable", False):
        raise InputError(
            f"training.micro_batch: losses.{registry.name_of(type(loss))} is not a function of the batch's vectors "
            "alone, so its gradient cannot be cached; leave micro_batch and micro_cost out, or take another loss"
        )
    for part in positives.parts if isinstance(positives, Mixture) else [positives]:
        if settings.queue and "queued" not in inspect.signature(part.batch).parameters:
            raise InputError(
                f"training.queue: positives.{registry.name_of(type(part))} does not say who is near a queued key; "
                "leave training.queue out, or take other positives"
            )


def _refuse_idle_tower(encoder: Encoder) -> None:
    """Refuse the momentum keys of an encoder with a key tower: no gradient would ever reach what they are averaged of.

    A tower that is frozen all the same is left in peace.
    """
    tower = getattr(encoder, "towers", {}).get("key")
    if tower is not None and any(p.requires_grad for p in tower.parameters()):
        raise InputError(
            "training.momentum: keys come from the average of the key tower, which would itself learn nothing; leave "
            "training.momentum out (training.queue works without), or take one encoder for both sides"
        )


class Queue(nn.Module):
    """The vectors of the last `size` keys, a buffer that travels with the checkpoint.

    With momentum it is MoCo's (He et al. 2020, arXiv:1911.05722), without it the cross-batch memory (Wang et al. 2020,
    arXiv:1912.06798). A key's place is its place in the run's row of examples modulo the size: so whose key lies where
    depends on seed and step only, and is known while the batch is read.
    """

    vectors: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim, dtype=dtype))

    def put(self, start: int, keys: Tensor) -> None:
        """Keep the keys (b, d) of the examples from place `start` of the run on, in place of the oldest."""
        size = len(self.vectors)
        kept = keys[-size:].detach().to(self.vectors.dtype)
        places = torch.arange(start + len(keys) - len(kept), start + len(keys), device=kept.device) % size
        self.vectors.index_copy_(0, places, kept)


def queued(sampler: Sampler, step: int, size: int) -> Ids:
    """Return the examples whose keys lie in the queue when a step (from 0) begins, by their places there."""
    stop = step * sampler.batch_size
    start = max(0, stop - size)
    return torch.from_numpy(sampler.row(start, stop)).roll(start % size).numpy()


def momentum_copy(encoder: nn.Module) -> nn.Module:
    """Return a copy that no optimiser moves."""
    return copy.deepcopy(encoder).requires_grad_(False)


@torch.no_grad()
def update_momentum_copy_(average: nn.Module, encoder: nn.Module, momentum: float) -> None:
    """Move the average towards the encoder: average = momentum average + (1 - momentum) encoder.

    He et al. 2020, arXiv:1911.05722, equation 2. Buffers are no weights: each copy's own forward passes move them.
    """
    for mine, theirs in zip(average.parameters(), encoder.parameters(), strict=True):
        mine.lerp_(theirs, 1 - momentum)
