"""The settings of a training run, all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearfar.errors import InputError


@dataclass(frozen=True)
class Settings:
    """How to train.

    epochs: passes over the data; steps: of the optimiser, instead of epochs. batch_size: examples a step.
    learning_rate: the highest; warmup: share of the steps over which it rises; schedule: how it falls after that.
    weight_decay: on matrices only, never on biases and scales. clip: norm of the gradient at most, 0 for no clipping.
    precision: "auto" is bf16 autocast where the machine is fast at it, else fp32. seed: of batches and dropout.
    checkpoint_every: steps between checkpoints; keep: how many of the last ones stay, beside the best.
    evaluate_every: steps between evaluations, 0 for none before the end; best: the metric, higher is better, by which
    the best checkpoint is known; patience: evaluations without a better one before the run stops, 0 for never.
    monitor_every: steps between looks at the geometry. tensorboard: write event files, too (extra `tensorboard`).
    """

    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 1024
    learning_rate: float = 0.01
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0
    clip: float = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"
    seed: int = 0
    checkpoint_every: int = 500
    keep: int = 2
    evaluate_every: int = 0
    best: str = "mrr@10"
    patience: int = 0
    monitor_every: int = 25
    tensorboard: bool = False

    def __post_init__(self) -> None:
        positive = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        positive |= {"checkpoint_every": self.checkpoint_every, "keep": self.keep, "monitor_every": self.monitor_every}
        for name, value in positive.items():
            if not value > 0:
                raise InputError(f"training.{name} must be above zero, it is {value}")
        if self.batch_size < 2:
            raise InputError("training.batch_size must be at least 2: the other examples of a batch are the negatives")
        if not 0 <= self.warmup < 1:
            raise InputError(f"training.warmup is a share of the steps, 0 to below 1; it is {self.warmup}")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"training.steps must be at least 1, it is {self.steps}")
