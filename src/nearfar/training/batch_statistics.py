"""Batch statistics: refused with micro-batches, and synchronised over ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar import registry
from nearfar.abilities import has_batch_statistics
from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError
from nearfar.training.settings import Settings

# Layers whose forward pass is torch's batch norm and then these modules of theirs, by the name of their class.
THEN = {"timm.layers.norm_act.BatchNormAct2d": ("drop", "act")}


def batch_norms(module: Any) -> dict[str, _BatchNorm]:
    """Return the layers whose result depends on the other rows of the batch while they train, by name.

    Those of a part that stays as it is while the whole trains, such as a locked tower, are none of them.
    """
    whole = cast("nn.Module", module)
    modes = {part: part.training for part in whole.modules()}
    whole.train()
    found = {name: layer for name, layer in whole.named_modules() if isinstance(layer, _BatchNorm) and layer.training}
    for part, mode in modes.items():
        part.training = mode
    return found


def refuse_batch_statistics(part: Any, settings: Settings, world_size: int) -> None:
    """Refuse a part with batch statistics, an encoder or an objective, where they would not be those of the batch.

    Of micro-batches, each has statistics of its own: the update would be another one than the whole batch's, silently.
    Ranks share those of torch's batch norm (`synchronised`), but not what a part or a layer computes itself.
    """
    micro = settings.micro_batch or settings.micro_cost
    found, declared, name = batch_norms(part), has_batch_statistics(part), registry.name_of(type(part))
    if micro and (found or declared):
        where = f" in {next(iter(found))}" if found else ""
        raise InputError(
            f"training.micro_batch: {name} has batch statistics{where}, which would be those of each micro-batch; "
            "leave micro_batch and micro_cost out, and lower batch_size for memory"
        )
    own = [f"{where} ({type(layer).__name__})" for where, layer in found.items() if _computes_itself(layer)]
    if world_size > 1 and (own or (declared and not found)):
        where = f" in {own[0]}" if own else ""
        raise InputError(
            f"{name} has batch statistics of its own{where}, which {world_size} ranks cannot share; start one process, "
            "or use torch's batch norm, whose statistics are synchronised"
        )


def _computes_itself(layer: _BatchNorm) -> bool:
    """Return whether a layer's class has a forward pass of its own, which may not be that of torch's batch norm."""
    return _owner(layer) not in (_BatchNorm, SynchronisedBatchNorm) and _name(_owner(layer)) not in THEN


def _owner(layer: _BatchNorm) -> type:
    """Return the class that a layer has its forward pass from."""
    return next(kind for kind in type(layer).__mro__ if "forward" in vars(kind))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def synchronised(module: nn.Module, ranks: Ranks) -> Iterator[None]:
    """While open, every batch norm in a module has the statistics of all ranks' rows. With one rank nothing changes.

    The layers stay the same objects, with their parameters, buffers and hooks; only their class is another one.
    """
    layers = {id(layer): layer for layer in batch_norms(module).values()} if ranks.world_size > 1 else {}
    classes = {key: type(layer) for key, layer in layers.items()}
    try:
        for layer in layers.values():
            kind = type(layer)
            then = THEN.get(_name(_owner(layer)), ())
            layer.__class__ = type(kind.__name__, (SynchronisedBatchNorm, kind), {"ranks": ranks, "then": then})
        yield
    finally:
        for key, layer in layers.items():
            layer.__class__ = classes[key]


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm over the rows of all ranks (Ioffe and Szegedy 2015, arXiv:1502.03167), also on CPUs.

    torch's `SyncBatchNorm` needs GPUs. Mean and variance are of all rows, as a single process would compute them, and
    gradients flow through them over the ranks. Running statistics are the same on every rank. In evaluation it is
    torch's, and no rank waits for another. then: the names of the layer's modules that come after the norm.
    """

    ranks: Ranks = Ranks()
    then: tuple[str, ...] = ()

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised features, of the shape (n, features, ...) that it takes."""
        if not self.training:
            return super().forward(input)
        exact = torch.promote_types(input.dtype, torch.float32)
        x = input.to(exact)
        over = [0, *range(2, x.ndim)]
        count = x.new_tensor([x.numel() / max(x.shape[1], 1)])
        sum_and_count = self.ranks.sum(torch.cat([x.sum(over), count]))  # (features + 1,)
        total = sum_and_count[-1].detach()
        mean = sum_and_count[:-1] / total  # (features,)
        centred = x - _over_features(mean, x)
        variance = self.ranks.sum(centred.square().sum(over)) / total  # (features,)
        self._update_running(mean.detach(), variance.detach(), total)
        result = centred * _over_features((variance + self.eps).rsqrt(), x)
        if self.affine:
            result = result * _over_features(self.weight, x) + _over_features(self.bias, x)
        result = result.to(input.dtype)
        for name in self.then:
            result = self.get_submodule(name)(result)
        return result

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Move the running statistics, the variance without bias, as torch's layers do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        unbiased = variance * total / (total - 1).clamp_min(1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), factor)


def _over_features(values: Tensor, x: Tensor) -> Tensor:
    """Return values (features,) in a shape that fits x (n, features, ...)."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
