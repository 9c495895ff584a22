"""nearfar: contrastive learning from raw data to a trained, judged and searchable embedding model."""

from __future__ import annotations

import importlib
import os
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

# oneDNN keeps the code and memory of the last 1,024 products, by their shapes, and torch the plans of as many for each
# thread, 0.3 MB each; packed texts have other shapes at each step. 64 steps of 128 pictures and captions took 3.7 GB
# so, and 2.9 GB with 128 of oneDNN's. Both read their number once, at the first product, and torch has no function.
if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "128")
# GNU OpenMP's threads wait 300,000 turns for each other before they sleep. Where another process has a core, the turns
# are taken from the thread that is waited for: a training step of 0.42 s took 1.6 s beside two busy processes, and 8 s
# at times; with 10,000 turns 1.1 s, and the same on an idle machine. It is read once, when torch loads the library.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES or name in ("column", "tasks"):
        return importlib.import_module(f"nearfar.{name}")
    raise AttributeError(f"nearfar has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
