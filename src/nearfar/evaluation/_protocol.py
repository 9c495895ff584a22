"""What a report says about how its numbers came about."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.evaluation._bootstrap import CONFIDENCE
from nearfar.evaluation._embed import Embedder


def about_model(model: Embedder, dim: int) -> dict[str, Any]:
    """Return a model's fingerprint, where it has one, and its dimension."""
    fingerprint = getattr(model, "fingerprint", None)
    return {"fingerprint": None if fingerprint is None else str(fingerprint), "dim": dim}


def about_intervals(clusters: Ids, what: str, resamples: int, seed: int) -> dict[str, Any]:
    """Return how intervals were made, with a note where there are none."""
    number, largest = len(np.unique(clusters)), int(np.unique(clusters, return_counts=True)[1].max())
    about: dict[str, Any] = {
        "confidence": CONFIDENCE,
        "method": "paired percentile bootstrap of whole clusters",
        "resamples": resamples,
        "seed": seed,
        "clusters": f"{what} that the task calls dependent are drawn together; the largest cluster has {largest}",
    }
    if number < 2:
        about["note"] = f"no intervals: all {what} are one cluster, which says nothing about spread"
    return about
