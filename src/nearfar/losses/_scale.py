"""The scale of similarities: one over the temperature, fixed or learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nearfar.losses._checks import check_setting

MOST = 100.0  # CLIP's limit (Radford et al. 2021, section 2.5)


class Scale(nn.Module):
    """e^log, learnt within 1 to 100; or fixed, and then exact in float64.

    name: of the setting, for errors.
    """

    def __init__(self, name: str, temperature: float, learnable: bool) -> None:
        super().__init__()
        check_setting(name, temperature, above=0)
        self.first = 1.0 / temperature
        self.learnable = learnable
        self.log = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)

    @property
    def temperature(self) -> float:
        """What similarity is divided by, now."""
        return math.exp(-self.log.item()) if self.learnable else 1.0 / self.first

    def value(self, dtype: torch.dtype) -> Tensor | float:
        """Return the scale, with a gradient if it is learnt."""
        return self.log.to(dtype).exp() if self.learnable else self.first

    def clamp_(self) -> None:
        """Keep a learnt scale in its range."""
        if self.learnable:
            with torch.no_grad():
                self.log.clamp_(0.0, math.log(MOST))
