"""The identity of a run: the settings and data that must be the same for it to be resumed."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar import registry
from nearfar.column import Ids
from nearfar.contracts import Positives
from nearfar.storage.fingerprint import fingerprint
from nearfar.training.mixture import Mixture, parts_of
from nearfar.training.refresh import Miner
from nearfar.training.settings import Settings
from nearfar.training.train_module import Trained

CHANGEABLE = (  # settings that may differ when a run is resumed
    *("device", "micro_batch", "micro_cost", "checkpoint_every", "keep", "evaluate_every", "best", "patience"),
    *("monitor_every", "tensorboard", "heldout_examples"),
)
OF_MINING = ("refresh_every", "refresh_first")  # without effect where nothing is mined
OF_MIXTURES = ("mixing", "mixing_temperature", "one_data_set", "apart")  # without effect for one data set


def run_identity(
    trained: Trained,
    positives: Positives,
    settings: Settings,
    miner: Miner | None = None,
    kept_back: Ids | None = None,
) -> dict[str, Any]:
    """Return a run's settings and the fingerprints of its data and initial encoder, nested under the recipe's names.

    kept_back: the examples that `online_knn` keeps from training, which depend on their classes, too.
    """
    encoder = trained.encoder
    heads = {name: registry.settings_of(head) for name, head in trained.heads.items()}
    space = {name: fingerprint(value) for name, value in encoder.identity() if not isinstance(value, np.ndarray)}
    parts = parts_of(positives)
    left_out = CHANGEABLE if isinstance(positives, Mixture) else (*CHANGEABLE, *OF_MIXTURES)
    left_out = left_out if miner else (*left_out, *OF_MINING)
    return {
        "training": {key: value for key, value in settings.plain().items() if key not in left_out},
        "positives": {
            "name": ", ".join(registry.name_of(type(part)) for part in parts),
            "data": positives.fingerprint,
            **({} if kept_back is None else {"kept back for kNN": fingerprint(kept_back)}),
        },
        "encoder": {**space, **encoder.settings(), **registry.settings_of(encoder)},
        **({} if trained.loss is None else {"loss": registry.settings_of(trained.loss)}),
        **({"heads": heads} if heads else {}),
        **_of_objective(trained),
        **(miner.identity if miner else {}),
    }


def may_grow(settings: Settings, miner: Miner | None, *, scheduled: bool) -> bool:
    """Return whether a run may be resumed for more epochs or steps: whether each step so far would be the same.

    scheduled: whether any number changes over the run (`Schedules.are_any`). Warmup is a share of all steps, and what
    is mined when is decided by their number, too.
    """
    return settings.schedule == "constant" and settings.warmup == 0 and not scheduled and miner is None


def _of_objective(trained: Trained) -> dict[str, Any]:
    if trained.objective is None:
        return {}
    return {"objective": {**registry.settings_of(trained.objective), "weight": trained.weight}}
