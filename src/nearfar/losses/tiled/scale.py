"""The scale 1 / temperature of similarities: fixed, learnt or scheduled."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nearfar.compute.scheduled import Scheduled, bounds, value_at
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_setting

MAX_SCALE = 100.0  # CLIP's limit (Radford et al. 2021, section 2.5)


class Scale(nn.Module):
    """The scale 1 / temperature: e^log, learnt within 1 to 100; or a number, exact in float64, that may be scheduled.

    name: of the setting temperature, for errors. temperature: above 0; a schedule's is set before each step.
    """

    def __init__(self, name: str, temperature: float | Scheduled, learnable: bool) -> None:
        super().__init__()
        for bound in bounds(temperature):
            check_setting(name, bound, above=0)
        if learnable and isinstance(temperature, Scheduled):
            raise InputError(f"{name} is both scheduled and learnable; leave one of them out")
        first = value_at(temperature, 0, 1)
        self.setting, self.learnable = temperature, learnable
        self.fixed = 1.0 / first
        self.log = nn.Parameter(torch.tensor(-math.log(first)), requires_grad=learnable)

    @property
    def temperature(self) -> float:
        """The current temperature, which similarities are divided by."""
        return math.exp(-self.log.item()) if self.learnable else 1.0 / self.fixed

    def value(self, dtype: torch.dtype) -> Tensor | float:
        """Return the scale: a number, or where it is learnt a scalar tensor with a gradient."""
        return self.log.to(dtype).exp() if self.learnable else self.fixed

    def before_step(self, step: int, steps: int) -> Mapping[str, float]:
        """Set a scheduled temperature."""
        if not isinstance(self.setting, Scheduled):
            return {}
        self.fixed = 1.0 / self.setting.at(step, steps)
        return {"temperature": self.temperature}

    def after_step(self, queries: Tensor, keys: Tensor) -> None:  # noqa: ARG002 (what other states need)
        """Keep a learnt scale in its range."""
        if self.learnable:
            with torch.no_grad():
                self.log.clamp_(0.0, math.log(MAX_SCALE))
