"""nearfar: contrastive learning from raw data to a trained, judged and searchable embedding model."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_HOMES = {  # heavy imports wait until a name is asked for
    "Experiment": "nearfar.experiment",
    "Hit": "nearfar.index.hybrid",
    "Index": "nearfar.index.index",
    "Model": "nearfar.model",
    "Pairs": "nearfar.pairs",
    "Known": "nearfar.pairs",
    "Run": "nearfar.training.fit",
    "Report": "nearfar.evaluation.report",
    "InputError": "nearfar.errors",
    "NearfarError": "nearfar.errors",
    "RunError": "nearfar.errors",
    "Scheduled": "nearfar.compute.scheduled",
    "evaluate": "nearfar.evaluation.evaluate",
    "fit": "nearfar.training.fit",
    "search": "nearfar.index.exact",
    "train": "nearfar.experiment",
}
_PACKAGES = ("augmentations", "data", "encoders", "heads", "losses", "metrics", "objectives", "positives")
__all__ = [*_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES or name in ("column", "tasks"):
        return importlib.import_module(f"nearfar.{name}")
    raise AttributeError(f"nearfar has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
