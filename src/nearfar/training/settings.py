"""All settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from nearfar.compute.scheduled import Scheduled, bounds, words
from nearfar.errors import InputError

ABOVE_ZERO = (
    *("epochs", "batch_size", "learning_rate", "checkpoint_every", "keep", "monitor_every"),
    "mixing_temperature",
)
NOT_NEGATIVE = (
    *("weight_decay", "clip", "seed", "evaluate_every", "patience", "micro_batch", "micro_cost", "queue"),
    *("refresh_every", "heldout_examples", "validate_every"),
)
Auto = Literal["auto"]
LOWER_IS_BETTER = ("heldout_loss", "alignment", "uniformity", "random_cosine")


@dataclass(frozen=True)
class Settings:
    """How to train.

    epochs: over the data; steps: of the optimiser, instead of epochs. batch_size: examples a step, at most all.
    learning_rate: the highest. epochs and learning_rate may be "auto": a number by that of the pairs (`by_pairs`).
    warmup: share of the steps over which the rate rises; schedule: how it falls to zero after that, or "constant".
    optimizer: sgd and lars have momentum 0.9; lars, for batches of thousands, wants rates of 0.1 and more; muon steps
    along a matrix's singular vectors, at AdamW's rates, and AdamW takes what is no matrix; both need timm (extra
    `images`). weight_decay: on matrices only, never on biases and scales. momentum and weight_decay may change during
    the run: {from: 0.99, to: 1, shape: cosine} (`Scheduled`).
    clip: maximal norm of the gradient over all parameters; a longer one is scaled down to it, 0 for no clipping.
    micro_batch: rows encoded together, 0 for all; with fewer, memory is that of so many rows and the gradient still
    that of the whole batch, at the price of a second forward pass (the gradient cache). micro_cost: tokens or pixels
    encoded together, at most, with the padding if there is any, 0 for any number; with both, both hold.
    keys: where the keys' vectors come from. same: the encoder, with a gradient; stopped: without one (SimSiam);
    momentum: a running average of encoder and projection, with the factor `momentum` (0.99 to 0.9999; MoCo, BYOL);
    neighbours: of each key the most similar one in the queue (NNCLR). queue: keys of earlier batches, 0 for none; they
    are further keys, or what `neighbours` chooses from.
    mixing: of several data sets, how often each is drawn: proportional to its size, round_robin, or temperature, as its
    size to the power of 1 / mixing_temperature. one_data_set: all examples of a batch are of one data set. apart: in a
    batch of several, queries and keys of different data sets are ignored instead of negatives. An epoch is as many
    examples as all data sets have.
    view_scale: side of augmented pictures, as a share of the side that the encoder reads, in steps of 16 pixels. {from:
    0.57, to: 1} begins with small pictures, which are quick, and ends with whole ones (progressive resizing, as in Tan
    and Le 2021, arXiv:2104.00298, section 3.3); for networks that read pictures of any size.
    precision: "auto" is bf16 autocast where the machine is fast at it, else fp32. device: "auto" is a GPU if there is
    one. seed: of batches and dropout.
    checkpoint_every: steps between checkpoints; keep: how many of the last ones stay, beside the best.
    evaluate_every: steps between evaluations, 0 for only one, at the end; heldout_examples: how many examples of a
    held-out split give the `heldout_loss` and its hit rates each time, 0 for none; best: the metric that decides which
    checkpoint is the best, None for mrr@10, or the first metric where there is no mrr@10; higher is better, but for
    heldout_loss and the geometry's metrics (`LOWER_IS_BETTER`); patience: evaluations without a better one before the
    run stops, 0 for never; with patience, the model is that of the best evaluation, else of the last step.
    validation: share of the examples that are kept back from training to choose by, 0 for none (`validation_rows`: at
    least 40 examples, at most a quarter or 200, whole groups that share texts). The model is then that of the best
    validation, the starting weights among them, patience counts validations, and no held-out row has a say.
    validate_every: steps between validations, 0 for half a run; the start and the end are validated, too.
    refresh_every: steps after which negatives are mined anew with the current weights, 0 for never (how: the recipe's
    section mining); refresh_first: also before the first step.
    online_knn: whether some of the pictures that have classes are kept back from training, and their kNN accuracy is
    measured while it runs (`online_knn`: at most 1,000, or 5 %). It decides nothing.
    monitor_every: steps between measurements of the vectors' geometry. tensorboard: write event files, too (extra
    `tensorboard`).
    """

    epochs: float | Auto = 1.0
    steps: int | None = None
    batch_size: int = 1024
    learning_rate: float | Auto = 0.01
    optimizer: Literal["adam", "adamw", "sgd", "lars", "muon"] = "adamw"
    weight_decay: float | Scheduled = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0
    clip: float = 1.0
    micro_batch: int = 0
    micro_cost: int = 0
    queue: int = 0
    keys: Literal["same", "stopped", "momentum", "neighbours"] = "same"
    momentum: float | Scheduled = 0.0
    mixing: Literal["proportional", "round_robin", "temperature"] = "proportional"
    mixing_temperature: float = 5.0
    one_data_set: bool = False
    apart: bool = False
    view_scale: float | Scheduled = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = "auto"
    seed: int = 0
    checkpoint_every: int = 500
    keep: int = 2
    evaluate_every: int = 0
    heldout_examples: int = 512
    best: str | None = None
    patience: int = 0
    validation: float = 0.0
    validate_every: int = 0
    refresh_every: int = 0
    refresh_first: bool = False
    online_knn: bool = True
    monitor_every: int = 25
    tensorboard: bool = False

    def __post_init__(self) -> None:
        values = vars(self)
        for name in ABOVE_ZERO:
            if values[name] != "auto" and not 0 < values[name] < math.inf:
                raise InputError(f"training.{name} must be a number above zero, it is {values[name]}")
        for name in NOT_NEGATIVE:
            low, high = bounds(values[name])
            if not (low >= 0 and high < math.inf):
                raise InputError(f"training.{name} must be zero or more, it is {words(values[name])}")
        if not 0 < (scale := bounds(self.view_scale))[0] <= scale[1] <= 1:
            raise InputError(
                f"training.view_scale is a share, above 0 to 1, or {{from: 0.5, to: 1}}; it is {words(self.view_scale)}"
            )
        if not 0 <= self.warmup < 1:
            raise InputError(f"training.warmup is a share of the steps, 0 to below 1; it is {self.warmup}")
        self._check_keys()
        if self.steps is not None and self.steps < 1:
            raise InputError(f"training.steps must be at least 1, it is {self.steps}")
        if not 0 <= self.validation < 1:
            raise InputError(f"training.validation is a share of the examples, 0 to below 1; it is {self.validation}")
        if self.patience and not (self.evaluate_every or self.validation):
            raise InputError(
                "training.patience counts evaluations or validations: give training.evaluate_every or "
                "training.validation, too"
            )

    def _check_keys(self) -> None:
        low, high = bounds(self.momentum)
        if not 0 <= low <= high <= 1 or (low == 1 and high == 1):
            raise InputError(
                "training.momentum: the factor of the running average, 0 to 1, not 1 throughout; it is "
                f"{words(self.momentum)}"
            )
        if self.keys == "momentum" and high == 0:
            raise InputError("training.keys=momentum: give the factor of the running average, training.momentum=0.99")
        if self.keys != "momentum" and high > 0:
            raise InputError(
                f"training.momentum has no effect, as keys are {self.keys!r}; write training.keys=momentum, too, or "
                "leave training.momentum out"
            )
        if self.keys == "neighbours" and not self.queue:
            raise InputError("training.keys=neighbours: neighbours are chosen from a queue; give training.queue=16384")

    @property
    def rate(self) -> float:
        """The learning rate. Errors: `InputError` while it is "auto"."""
        return number("learning_rate", self.learning_rate)

    def plain(self) -> dict[str, Any]:
        """Return the settings as a recipe writes them."""
        return {name: value.plain() if isinstance(value, Scheduled) else value for name, value in vars(self).items()}


def refuse_lone_examples(settings: Settings) -> None:
    """Refuse batches of one example for a loss, which compares them; an objective alone does not."""
    if settings.batch_size < 2:
        raise InputError("training.batch_size must be at least 2: the other examples of a batch are the negatives")


def number(name: str, value: float | Auto) -> float:
    """Return the number of a setting. Errors: `InputError` while it is "auto" (see `by_pairs.without_auto`)."""
    if isinstance(value, str):
        raise InputError(f"training.{name} is 'auto', which needs the number of pairs; give a number")
    return value
