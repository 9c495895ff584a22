"""What must be the same for a run to be resumed, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from nearfar import registry
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.fingerprint import fingerprint
from nearfar.training.mixture import Mixture
from nearfar.training.refresh import Refresh
from nearfar.training.settings import Settings

FREE = (
    *("device", "micro_batch", "micro_cost", "checkpoint_every", "keep", "evaluate_every", "best", "patience"),
    *("monitor_every", "tensorboard", "heldout_examples"),
)
REFRESHES = ("refresh_every", "refresh_first")  # change nothing where nothing is mined
OF_SEVERAL = ("mixing", "mixing_temperature", "one_data_set", "apart")  # change nothing for one data set


def run_identity(
    encoder: Encoder, positives: Positives, loss: Loss, settings: Settings, refresh: Refresh | None = None
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
        "encoder": {"name": registry.name_of(type(encoder)), **space, **encoder.settings(), **_settings(encoder)},
        "loss": {"name": registry.name_of(type(loss)), **_settings(loss)},
        **(refresh.identity if refresh else {}),
    }


def _settings(part: Any) -> dict[str, Any]:
    """Return a part's settings as it keeps them; of one that renames them, all its plain attributes."""
    names = registry.settings(type(part))
    kept = {name: getattr(part, name) for name in names} if all(hasattr(part, name) for name in names) else vars(part)
    kept = {name: v.item() if isinstance(v, Tensor) and v.numel() == 1 else v for name, v in kept.items()}
    inner = {name: kept[name] for name in registry.nested(type(part)) if kept.get(name) is not None}
    kept = {name: str(v) if isinstance(v, list) and all(map(_is_plain, v)) else v for name, v in kept.items()}
    kept |= {name: str(sorted(v.items())) for name, v in kept.items() if isinstance(v, dict) and name not in inner}
    plain = {name: value for name, value in kept.items() if _is_plain(value) and name != "training"}
    # A temperature that is kept as the logarithm of its inverse comes back as 0.05000000075.
    told = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in plain.items()}
    return told | {name: {"name": registry.name_of(type(own)), **_settings(own)} for name, own in inner.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str)
