"""The momentum encoder: a copy that follows the trained one slowly, so that queued keys stay comparable."""

from __future__ import annotations

import copy

import torch
from torch import nn


def follower(encoder: nn.Module) -> nn.Module:
    """Return a copy that no optimiser moves."""
    return copy.deepcopy(encoder).requires_grad_(False)


@torch.no_grad()
def follow_(average: nn.Module, encoder: nn.Module, momentum: float) -> None:
    """Move the average towards the encoder: average = momentum average + (1 - momentum) encoder.

    He et al. 2020, arXiv:1911.05722, equation 2. Buffers are no weights: each copy's own forward passes move them.
    """
    for mine, theirs in zip(average.parameters(), encoder.parameters(), strict=True):
        mine.lerp_(theirs, 1 - momentum)
