"""Settings that change from step to step: momentum, weight decay, and those of the loss."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from nearfar.abilities import BeforeStep
from nearfar.compute.scheduled import Scheduled, value_at
from nearfar.contracts import Loss
from nearfar.training.settings import Settings


class Schedules:
    """Sets what is scheduled before each step, a function of step and steps. momentum: the factor of this step."""

    def __init__(self, settings: Settings, optimiser: torch.optim.Optimizer, loss: Loss | None, steps: int) -> None:
        self.settings, self.steps = settings, steps
        self.decayed: list[dict[str, Any]] = []  # the groups of parameters whose weight decay is scheduled
        if isinstance(settings.weight_decay, Scheduled):
            self.decayed = [group for group in optimiser.param_groups if group["decayed"]]
        modules = () if loss is None else cast("nn.Module", loss).named_modules()
        able = [module for _, module in modules if isinstance(module, BeforeStep)]
        self.changing = [module for module in able if module.before_step(0, steps)]
        self.momentum = value_at(settings.momentum, 0, steps)
        read = (settings.momentum, settings.view_scale)
        self.are_any = bool(self.decayed or self.changing) or any(isinstance(value, Scheduled) for value in read)

    def before_step(self, step: int) -> dict[str, float]:
        """Set the values of a step (from 0); return those that are scheduled, by name."""
        values: dict[str, float] = {}
        if isinstance(self.settings.momentum, Scheduled):
            values["momentum"] = self.momentum = self.settings.momentum.at(step, self.steps)
        for group in self.decayed:
            group["weight_decay"] = values["weight_decay"] = value_at(self.settings.weight_decay, step, self.steps)
        for module in self.changing:
            values |= {f"loss.{name}": value for name, value in module.before_step(step, self.steps).items()}
        return values
