"""What must be the same for a run to be resumed, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from nearfar import registry
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.storage.fingerprint import fingerprint
from nearfar.training.mixture import Mixture
from nearfar.training.refresh import Miner
from nearfar.training.settings import Settings

FREE = (
    *("device", "micro_batch", "micro_cost", "checkpoint_every", "keep", "evaluate_every", "best", "patience"),
    *("monitor_every", "tensorboard", "heldout_examples"),
)
REFRESHES = ("refresh_every", "refresh_first")  # change nothing where nothing is mined
OF_SEVERAL = ("mixing", "mixing_temperature", "one_data_set", "apart")  # change nothing for one data set


def run_identity(
    encoder: Encoder, positives: Positives, loss: Loss, settings: Settings, refresh: Miner | None = None
) -> dict[str, Any]:
    """Return the settings and the data that make a run this one, nested under the recipe's names."""
    space = {name: fingerprint(value) for name, value in encoder.identity() if not isinstance(value, np.ndarray)}
    parts = positives.parts if isinstance(positives, Mixture) else [positives]
    free = FREE if isinstance(positives, Mixture) else (*FREE, *OF_SEVERAL)
    free = free if refresh else (*free, *REFRESHES)
    return {
        "training": {key: value for key, value in asdict(settings).items() if key not in free},
        "positives": {
            "name": ", ".join(registry.name_of(type(part)) for part in parts),
            "data": positives.fingerprint,
        },
        "encoder": {**registry.settings_of(encoder), **space, **encoder.settings()},
        "loss": registry.settings_of(loss),
        **(refresh.identity if refresh else {}),
    }
