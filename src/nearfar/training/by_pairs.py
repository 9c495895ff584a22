"""Settings of training that depend on the number of pairs, and the warning of a run that is too short to say much."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from nearfar.column import column_kind
from nearfar.contracts import Positives
from nearfar.registry import coerced_settings
from nearfar.training.settings import Settings

TOO_FEW_STEPS = 12  # of the optimiser, unless "auto" chose them: most models hardly move in fewer
WANTED_STEPS = 8  # of a pretrained model on few pairs: 16 and more taught no more, and hurt what it knew
ENOUGH_STEPS = 50  # what the warning offers
RATE_OF_FEW, RATE_OF_MANY, MANY = 3e-5, 5e-5, 2_000  # learning rates, and the pairs from which the second holds


def without_auto(settings: Settings, pairs: int) -> Settings:
    """Return the settings with a number for each "auto", by the number of pairs.

    learning_rate: 3e-5 for less than 2,000 pairs, else 5e-5. epochs: one, or as many as make 8 steps of `batch_size`
    pairs. They were measured by fine-tuning a small pretrained model (benchmarks/finetune_small.py); a
    model from nothing needs a higher rate and more epochs.

    Example:
        >>> few = without_auto(Settings(learning_rate="auto", epochs="auto", batch_size=64), pairs=320)
        >>> few.learning_rate, few.epochs
        (3e-05, 2.0)
    """
    rate, epochs = settings.learning_rate, settings.epochs
    if rate == "auto":
        rate = RATE_OF_FEW if pairs < MANY else RATE_OF_MANY
    if epochs == "auto":
        of_epoch = max(1.0, pairs * (1 - settings.validation) / settings.batch_size)  # steps
        epochs = float(math.ceil(WANTED_STEPS / of_epoch))
    return replace(settings, learning_rate=rate, epochs=epochs)


def unit_of(positives: Positives) -> str:
    """Return what the examples of positives are called: pairs, or where they make none, texts or rows."""
    if positives.query_views:
        return "pairs"
    return "texts" if {column_kind(column) for column in positives.views.values()} == {"text"} else "rows"


def auto_settings(before: Settings, after: Settings, pairs: int) -> str | None:
    """Return a line about what was "auto" and is a number now; None where nothing was."""
    names = [name for name in ("learning_rate", "epochs") if getattr(before, name) == "auto"]
    if not names:
        return None
    return f"by {pairs:,} pairs: " + ", ".join(f"training.{name}={getattr(after, name):g}" for name in names)


def too_short(steps: int, settings: Settings, pairs: int, unit: str = "pairs") -> str | None:
    """Return a warning where so many steps hardly move the weights, with what to write; None where they are enough.

    settings: as given, before `without_auto`: what "auto" chooses is few on purpose.
    """
    if steps >= TOO_FEW_STEPS or (settings.epochs == "auto" and settings.steps is None):
        return None
    batch = min(settings.batch_size, pairs)
    by_epochs = settings.steps is None
    of = f" ({pairs:,} {unit} in batches of {batch})" if by_epochs else ""
    more = f"epochs={math.ceil(ENOUGH_STEPS * batch / pairs)}" if by_epochs else f"steps={ENOUGH_STEPS}"
    return (
        f"{steps} {'step' if steps == 1 else 'steps'} of training{of} will hardly move the weights, so the numbers say "
        f"little of what training can do; for {ENOUGH_STEPS} steps give training.{more}"
    )


def plain(settings: dict[str, Any], pairs: int) -> dict[str, Any]:
    """Return a recipe's section training with a number for each "auto"."""
    return without_auto(Settings(**coerced_settings(Settings, settings, "training")), pairs).plain()
