"""What a run trains, as one module: encoder, heads, loss and objective, with a queue and momentum copies."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.abilities import TakesSize, augmented_views, takes_queue, towers_of
from nearfar.column import Ids
from nearfar.compute.evaluating import evaluating
from nearfar.compute.fp32_products import product
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Head, Loss, Objective, Positives
from nearfar.errors import InputError, nearest
from nearfar.requirements import refuse_incomplete
from nearfar.sides import refuse_kinds
from nearfar.training.batch_statistics import refuse_batch_statistics
from nearfar.training.mixture import Mixture
from nearfar.training.optimizers import refuse_missing_optimizer
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings, refuse_lone_examples

HEADS = ("projection", "prediction")


@dataclass(frozen=True)
class Trained:
    """The parts that a run trains.

    loss: None where there is an objective alone. heads: "projection", of all vectors, and "prediction", of the queries'
    only. weight: of the objective's term beside the loss.
    """

    encoder: Encoder
    loss: Loss | None
    heads: Mapping[str, Head] = field(default_factory=dict)
    objective: Objective | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        refuse_unknown_heads(self.heads)
        if self.loss is None and self.objective is None:
            raise InputError("fit: give a loss, an objective, or both; there is nothing to train for")
        if self.loss is None and self.heads:
            raise InputError("heads: they stand between encoder and loss, and there is no loss; leave them out")
        dim = self.vectors_dim
        prediction = self.heads.get("prediction")
        if prediction is not None and prediction.dim != dim:
            raise InputError(
                f"heads.prediction returns {prediction.dim} dimensions, the keys have {dim}; make its last size {dim}"
            )

    @property
    def vectors_dim(self) -> int:
        """The dimension of the keys that the loss compares."""
        return self.heads["projection"].dim if "projection" in self.heads else self.encoder.dim

    def refuse_incomplete(self) -> None:
        """Refuse parts that lack what their contracts ask for. Errors: `InputError` that names all of it."""
        refuse_incomplete("encoders", self.encoder, where="encoder")
        given = [("losses", self.loss), ("objectives", self.objective)]
        for package, part in [*given, *(("heads", head) for head in self.heads.values())]:
            if part is not None:
                refuse_incomplete(package, part)

    @torch.no_grad()
    def refuse_unfit_heads(self) -> None:
        """Refuse heads that do not take the vectors before them. Errors: `InputError` that names head and dimension."""
        dim = self.encoder.dim
        for name, head in ((name, self.heads[name]) for name in HEADS if name in self.heads):
            module = cast("nn.Module", head)
            dtype = next((p.dtype for p in module.parameters()), torch.float32)
            try:
                with evaluating(module):
                    dim = module(torch.zeros(2, dim, dtype=dtype)).shape[1]
            except (RuntimeError, ValueError, IndexError) as error:
                line = str(error).splitlines()[0]
                raise InputError(
                    f"heads.{name} does not take vectors of {dim} dimensions ({line}); give it dim={dim}"
                ) from error

    def refuse_batch_statistics(self, settings: Settings, world_size: int) -> None:
        """Refuse an encoder or objective with batch statistics that would not be the batch's. Errors: `InputError`."""
        for part in (self.encoder, self.objective):
            if part is not None:
                refuse_batch_statistics(part, settings, world_size)

    def module(self, settings: Settings) -> nn.ModuleDict:
        """Return one module of all that a checkpoint holds, on the CPU.

        "encoder", "projection", "prediction", "loss", "objective", the copies "momentum" (of the encoder) and
        "momentum_projection", and "queue", as far as the run has them.
        """
        trained = cast("nn.Module", self.encoder)
        parts: dict[str, nn.Module] = {"encoder": trained}
        dtypes = (p.dtype for p in trained.parameters() if p.is_floating_point())
        dtype = torch.promote_types(next(dtypes, torch.float32), torch.float32)
        parts |= {name: cast("nn.Module", head).to(dtype) for name, head in self.heads.items()}
        found = {"loss": self.loss, "objective": self.objective}
        parts |= {name: cast("nn.Module", part) for name, part in found.items() if part is not None}
        if settings.keys == "momentum":
            _refuse_momentum_of_key_tower(self.encoder)
            parts["momentum"] = momentum_copy(trained)
            if "projection" in parts:
                parts["momentum_projection"] = momentum_copy(parts["projection"])
        if settings.queue:
            parts["queue"] = Queue(settings.queue, self.vectors_dim, dtype)
        return nn.ModuleDict(parts)


def refuse_unknown_heads(heads: Iterable[Any]) -> None:
    """Raise `InputError` for a head that is neither the projection nor the prediction."""
    for name in heads:
        if name not in HEADS:
            raise InputError(f"heads: no head {name!r}; {nearest(str(name), HEADS)}")


def refuse_incompatible(positives: Positives, trained: Trained, settings: Settings, ranks: Ranks | None = None) -> None:
    """Refuse parts that cannot be trained with these settings, before any data is read.

    Errors: `InputError` for a view of a kind that its side does not read; for micro-batches with a loss that is not a
    function of the vectors alone, or with batch statistics; for a queue with positives that do not take queued keys;
    for keys that are trained for no loss, or a validation without one; for a view_scale of no augmented picture; and
    for a batch with fewer examples than ranks.
    """
    trained.refuse_incomplete()
    trained.refuse_unfit_heads()
    refuse_kinds(trained.encoder, positives)
    refuse_missing_optimizer(settings)
    batch_size, world_size = min(settings.batch_size, len(positives)), 1 if ranks is None else ranks.world_size
    if batch_size < world_size:
        raise InputError(
            f"training.batch_size: {batch_size} examples are too few for {world_size} ranks; start fewer, or give more"
        )
    loss = trained.loss
    if loss is None and settings.validation:
        raise InputError("training.validation ranks keys, and an objective alone has none; leave it out")
    if loss is None and (settings.keys != "same" or settings.queue):
        raise InputError(
            "training.keys and training.queue are about the keys of a loss, and there is none; leave them out"
        )
    if (settings.micro_batch or settings.micro_cost) and loss is not None and not loss.cacheable:
        raise InputError(
            f"training.micro_batch: losses.{registry.name_of(type(loss))} is not a function of the batch's vectors "
            "alone, so its gradient cannot be cached; leave micro_batch and micro_cost out, or take another loss"
        )
    trained.refuse_batch_statistics(settings, world_size)
    if settings.keys == "momentum":
        _refuse_momentum_of_key_tower(trained.encoder)
    sized = (isinstance(view.augmentation, TakesSize) for view in augmented_views(positives).values())
    if settings.view_scale != 1 and not any(sized):
        raise InputError(
            "training.view_scale is of augmented pictures, and the positives augment none; give an augmentation "
            "(positives.augment_query.name=image), or leave view_scale out"
        )
    if loss is not None:
        refuse_lone_examples(settings)
    for part in positives.parts if isinstance(positives, Mixture) else [positives]:
        if loss is not None and not part.query_views:
            raise InputError(
                f"loss.{registry.name_of(type(loss))} compares pairs, and positives.{registry.name_of(type(part))} "
                "makes none; leave the loss out, or take other positives, e.g. positives.name=views"
            )
        if settings.queue and settings.keys != "neighbours" and not takes_queue(part):
            raise InputError(
                f"training.queue: positives.{registry.name_of(type(part))} does not take queued keys; "
                "leave training.queue out, or take other positives"
            )


def _refuse_momentum_of_key_tower(encoder: Encoder) -> None:
    """Refuse a momentum encoder where the encoder has a trainable key tower: no gradient would ever reach that tower.

    Keys then come from the tower's running average alone. A frozen key tower is fine.
    """
    tower = towers_of(encoder).get("key")
    if tower is not None and any(p.requires_grad for p in cast("nn.Module", tower).parameters()):
        raise InputError(
            "training.keys=momentum: keys come from the average of the key tower, which would itself learn nothing; "
            "leave training.keys and training.momentum out (training.queue works without), or take one encoder for "
            "both sides"
        )


class Queue(nn.Module):
    """The vectors of the last `size` keys, a buffer that is saved in checkpoints.

    With a momentum encoder it is MoCo's queue (He et al. 2020, arXiv:1911.05722), without one the cross-batch memory
    (Wang et al. 2020, arXiv:1912.06798), and with neighbours NNCLR's support set (Dwibedi et al. 2021,
    arXiv:2104.14548). A key's place is its example's position in the sampler's stream modulo the size, so which
    example's key is where depends on seed and step only, and is known while the batch is read.
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

    @torch.no_grad()
    def neighbours(self, keys: Tensor, filled: int, own: tuple[Ids, Ids]) -> Tensor:
        """Return the queued key with the highest cosine to each key, (m, d); where there is none to choose, the key.

        own: all (i, j) where key i and the queued key j are of one thing (`OwnKeys`): j is no neighbour of i. In a
        queue that outlasts an epoch, every key would find the earlier one of its own example.
        """
        if not filled:
            return keys.detach()
        queued = self.vectors[:filled]
        cosines = product(normalize(keys.to(queued.dtype), dim=1), normalize(queued, dim=1))  # (m, filled)
        rows, columns = (torch.from_numpy(places).to(cosines.device) for places in own)
        cosines[rows, columns] = -torch.inf
        highest, nearest = cosines.max(1)
        return torch.where(highest[:, None] == -torch.inf, keys.detach().to(queued.dtype), queued[nearest])


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
