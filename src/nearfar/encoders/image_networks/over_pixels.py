"""An encoder of pictures as one function of pixels, for runtimes without torch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class OverPixels(nn.Module):
    """Pixels (n, size, size, 3) uint8 -> raw vectors (n, dim), by a copy of the encoder."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).to(memory_format=torch.contiguous_format)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return raw vectors (n, dim)."""
        vectors: Tensor = self.encoder.network(self.encoder.normalised(pixels))
        return vectors
