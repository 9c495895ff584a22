"""The state of training: weights, optimiser and random states, collected as named tensors and restored from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from nearfar.abilities import rates_of
from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError
from nearfar.training.optimizers import build_optimizer, table_names
from nearfar.training.settings import Settings

NamedParameters = dict[str, nn.Parameter]


@dataclass(frozen=True)
class TrainState:
    """A module, its trainable parameters by name (tied ones once), and their optimiser."""

    module: nn.Module
    parameters: NamedParameters
    optimiser: torch.optim.Optimizer

    @classmethod
    def of(cls, module: nn.Module, settings: Settings) -> TrainState:
        """Return a module with its optimiser. Errors: `InputError` where no parameter can be learnt."""
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not parameters:
            raise InputError("training: no encoder, head, loss or objective has a parameter that can be learnt")
        rates = {
            f"{child_name}.{name}": rate
            for child_name, child in module.named_children()
            for name, rate in rates_of(child).items()
        }
        for parameter in parameters.values():
            parameter.grad = None  # of whatever was computed before
        return cls(module, parameters, build_optimizer(parameters, settings, rates, table_names(module)))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.parameters.values())).device

    def sum_gradients(self, ranks: Ranks) -> None:
        """Sum every parameter's gradient over the ranks, in place; one that a rank does not have is zero there."""
        if ranks.world_size == 1:
            return
        counts = torch.tensor([p.grad is not None for p in self.parameters.values()], dtype=torch.int32)
        ranks.all_reduce([counts])  # how many ranks have a gradient of each parameter
        used = [p for p, count in zip(self.parameters.values(), counts.tolist(), strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        ranks.all_reduce([p.grad for p in used if p.grad is not None])

    def clip(self, max_norm: float) -> float:
        """Return the gradient's norm; scale the gradient down to `max_norm`, in place, if it is longer (0: never)."""
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        if 0 < max_norm < norm.item():  # not clip_grad_norm_: it multiplies by one where there is nothing to clip
            nn.utils.clip_grads_with_norm_(self.parameters.values(), max_norm, norm)
        return norm.item()

    def step(self) -> None:
        """Make the optimiser's step, and free the gradients."""
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def is_finite(self) -> bool:
        """Return whether every trainable weight is a finite number."""
        return all(bool(torch.isfinite(p.detach()).all()) for p in self.parameters.values())

    def collect(self) -> dict[str, Tensor]:
        """Return copies of the weights and of the optimiser's state: module/NAME, and optimizer/PARAMETER/KEY."""
        tensors = {f"module/{name}": value for name, value in self.module.state_dict().items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
        return {name: tensor.clone() for name, tensor in tensors.items()}  # tied tensors may not share memory on disk

    def random_states(self, ranks: Ranks) -> dict[str, Tensor]:
        """Return every rank's random state, as random/DEVICE/RANK."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        gathered = {kind: ranks.all_gather(state) for kind, state in states.items()}
        return {f"random/{kind}/{rank}": state for kind in gathered for rank, state in enumerate(gathered[kind])}

    def restore(self, tensors: dict[str, Tensor], ranks: Ranks) -> None:
        """Restore what `collect` and `random_states` returned. Errors: `InputError` for names or shapes that differ."""
        self.restore_module(tensors)
        for name, parameter in self.parameters.items():
            state: dict[str, Any] = strip_prefix(f"optimizer/{name}/", tensors)
            if state:
                self.optimiser.state[parameter] = {key: _beside(parameter, value) for key, value in state.items()}
        if f"random/cpu/{ranks.rank}" in tensors:  # else the run had fewer ranks
            torch.set_rng_state(tensors[f"random/cpu/{ranks.rank}"])
        if self.device.type == "cuda" and f"random/cuda/{ranks.rank}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random/cuda/{ranks.rank}"], self.device)

    def restore_module(self, tensors: dict[str, Tensor]) -> None:
        """Restore the weights only. Errors: `InputError` for names or shapes that differ."""
        try:
            self.module.load_state_dict(strip_prefix("module/", tensors))
        except RuntimeError as error:
            last = str(error).splitlines()[-1].strip()
            raise InputError(f"the checkpoint's weights do not fit this model: {last}") from error


def _beside(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """Return a copy of an optimiser's tensor on the parameter's device, in its memory layout if it has its shape.

    Files hold no layout, and a fused optimiser reads memory in order: moments in another layout (channels last) than
    the weights would silently belong to other weights.
    """
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have this prefix, by the rest of their names."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def build_schedule(optimiser: torch.optim.Optimizer, settings: Settings, steps: int, first: int) -> LambdaLR:
    """Return the learning rate's schedule after `first` of `steps`: linear warmup, then linear or cosine decay to 0."""
    warmup = round(settings.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, steps - warmup)
        if settings.schedule == "constant":
            return 1.0
        return 1.0 - progress if settings.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2

    for group in optimiser.param_groups:  # which LambdaLR wants where last_epoch is not -1
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimiser, factor, last_epoch=first - 1)
