"""Settings of losses that may be scheduled, and the scale 1 / temperature that may be learnt instead."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nearfar.abilities import Learnt
from nearfar.compute.scheduled import Scheduled, bounds, value_at
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_setting

MAX_SCALE = 100.0  # CLIP's limit (Radford et al. 2021, section 2.5)


def not_filled_in(name: str) -> InputError:
    """Return the error of a setting that is "learnt", where nobody knows of which encoder (`config.build` does)."""
    return InputError(f"{name}: 'learnt' is filled in where a recipe is trained; give a number, as encoder.learnt has")


class ScheduledNumber(nn.Module):
    """A number above 0 that a schedule may change from step to step.

    name: of the setting, such as "distill.temperature". setting: as it was given. value: the current number.
    """

    def __init__(self, name: str, setting: float | Scheduled) -> None:
        super().__init__()
        for bound in bounds(setting):
            check_setting(name, bound, above=0)
        self.name, self.setting = name, setting
        self.value = value_at(setting, 0, 1)

    def before_step(self, step: int, steps: int) -> Mapping[str, float]:
        """Set the number of a step, if it is scheduled."""
        if not isinstance(self.setting, Scheduled):
            return {}
        self.value = self.setting.at(step, steps)
        return {self.name.rpartition(".")[2]: self.value}


class Scale(nn.Module):
    """The scale 1 / temperature: e^log, learnt within 1 to 100; or a number, exact in float64, that may be scheduled.

    A learnt one that begins outside stays within what lies between: folders of SigLIP bring a scale of 117.

    name: of the setting temperature, for errors. temperature: above 0.
    """

    def __init__(self, name: str, temperature: float | Scheduled | Learnt, learnable: bool) -> None:
        super().__init__()
        if isinstance(temperature, str):
            raise not_filled_in(name)
        self.number = ScheduledNumber(name, temperature)
        if learnable and isinstance(temperature, Scheduled):
            raise InputError(f"{name} is both scheduled and learnable; leave one of them out")
        self.learnable = learnable
        begin = -math.log(self.number.value)
        self.range = min(0.0, begin), max(math.log(MAX_SCALE), begin)  # of the log
        self.log = nn.Parameter(torch.tensor(begin), requires_grad=learnable)

    @property
    def setting(self) -> float | Scheduled:
        """The temperature as it is, or its schedule, where it has one."""
        return self.number.setting if isinstance(self.number.setting, Scheduled) else self.temperature

    @property
    def temperature(self) -> float:
        """The current temperature, which similarities are divided by."""
        return math.exp(-self.log.item()) if self.learnable else self.number.value

    def value(self, dtype: torch.dtype) -> Tensor | float:
        """Return the scale: a number, or where it is learnt a scalar tensor with a gradient."""
        return self.log.to(dtype).exp() if self.learnable else 1.0 / self.number.value

    def after_step(self, queries: Tensor, keys: Tensor) -> None:  # noqa: ARG002 (what other states need)
        """Keep a learnt scale in its range."""
        if self.learnable:
            with torch.no_grad():
                self.log.clamp_(*self.range)
