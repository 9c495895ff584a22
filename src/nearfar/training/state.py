"""A run's moving parts as named tensors and plain values, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import InputError
from nearfar.training.optimizer import Named


def collect(module: nn.Module, optimiser: torch.optim.Optimizer, parameters: Named) -> dict[str, Tensor]:
    """Return module, optimiser (by parameter name; tied tensors once) and random state as named tensors."""
    tensors = {f"module/{name}": value for name, value in module.state_dict().items()}
    for name, parameter in parameters.items():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    tensors["random/cpu"] = torch.get_rng_state()
    for device in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        tensors[f"random/cuda:{device}"] = torch.cuda.get_rng_state(device)
    return {name: tensor.clone() for name, tensor in tensors.items()}  # tied tensors may not share memory on disk


def restore(
    module: nn.Module, optimiser: torch.optim.Optimizer, parameters: Named, tensors: dict[str, Tensor]
) -> None:
    """Put everything back where `collect` took it. Errors: `InputError` where names or shapes do not fit."""
    try:
        module.load_state_dict(_under("module/", tensors))
    except RuntimeError as error:
        raise InputError(f"the checkpoint's weights do not fit this model: {str(error).splitlines()[-1]}") from error
    for name, parameter in parameters.items():
        state: dict[str, Any] = _under(f"optimizer/{name}/", tensors)
        if state:
            placed = {k: v.to(parameter.device) if v.ndim else v for k, v in state.items()}
            optimiser.state[parameter] = placed
    torch.set_rng_state(tensors["random/cpu"])
    for name, value in _under("random/cuda:", tensors).items():
        if int(name) < torch.cuda.device_count():
            torch.cuda.set_rng_state(value, int(name))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
