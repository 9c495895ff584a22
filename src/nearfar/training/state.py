"""What a step moves: module, optimiser and random state, as named tensors and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import InputError
from nearfar.training.optimizer import Named, optimizer
from nearfar.training.settings import Settings


@dataclass(frozen=True)
class Moving:
    """A module, its parameters by name (tied ones once), and the optimiser that moves them."""

    module: nn.Module
    parameters: Named
    optimiser: torch.optim.Optimizer

    @classmethod
    def of(cls, module: nn.Module, settings: Settings) -> Moving:
        """Give a module its optimiser. Errors: `InputError` where nothing can be learnt."""
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not parameters:
            raise InputError("training: neither the encoder nor the loss has a parameter that can be learnt")
        return cls(module, parameters, optimizer(parameters, settings))

    def clip(self, most: float) -> float:
        """Return the norm of the gradient; one above `most` is scaled down to it, in place (0: never)."""
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        if 0 < most < norm.item():  # not clip_grad_norm_: it multiplies by one where there is nothing to clip
            nn.utils.clip_grads_with_norm_(self.parameters.values(), most, norm)
        return norm.item()

    def step(self) -> None:
        """Move the parameters by their gradients, and forget those."""
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def finite(self) -> bool:
        """Say whether every weight is a finite number."""
        return all(bool(torch.isfinite(p.detach()).all()) for p in self.parameters.values())

    def collect(self) -> dict[str, Tensor]:
        """Return everything as named tensors: weights, the optimiser's state by parameter name, random state."""
        tensors = {f"module/{name}": value for name, value in self.module.state_dict().items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
        tensors["random/cpu"] = torch.get_rng_state()
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        for device in range(torch.cuda.device_count() if used else 0):
            tensors[f"random/cuda:{device}"] = torch.cuda.get_rng_state(device)
        return {name: tensor.clone() for name, tensor in tensors.items()}  # tied tensors may not share memory on disk

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put everything back where `collect` took it. Errors: `InputError` where names or shapes do not fit."""
        self.restore_module(tensors)
        for name, parameter in self.parameters.items():
            state: dict[str, Any] = _under(f"optimizer/{name}/", tensors)
            if state:  # copied: what was read is a view of the file; counts live beside their parameter, too (fused)
                self.optimiser.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in state.items()}
        torch.set_rng_state(tensors["random/cpu"])
        for name, value in _under("random/cuda:", tensors).items():
            if torch.cuda.is_available() and int(name) < torch.cuda.device_count():
                torch.cuda.set_rng_state(value, int(name))

    def restore_module(self, tensors: dict[str, Tensor]) -> None:
        """Put back the weights only."""
        try:
            self.module.load_state_dict(_under("module/", tensors))
        except RuntimeError as error:
            last = str(error).splitlines()[-1].strip()
            raise InputError(f"the checkpoint's weights do not fit this model: {last}") from error


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
