"""A recipe of pictures trained in this process, judged before its first step and after its last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar import config
from nearfar.column import Column, ListColumn, take
from nearfar.evaluation.intervals import mean_intervals
from nearfar.evaluation.predictions import predictions_of
from nearfar.metrics.knn import Knn
from nearfar.metrics.probe import Probe
from nearfar.model import Model
from nearfar.tasks import Labels
from nearfar.training.fit import fit
from nearfar.vectors.embed import Embedder

Hits = npt.NDArray[np.float64]


def trained(recipe: str, settings: Sequence[str], out: Path, judge: Callable[[Model], Any]) -> dict[str, Any]:
    """Train by a recipe; return what `judge` makes of the model before and after, and facts of the run."""
    parts, found = config.build(config.load(recipe, list(settings))), dict[str, Any]()
    began = time.perf_counter()

    def before(model: Model) -> None:
        nonlocal began
        found["before"] = judge(model)
        began = time.perf_counter()  # of training alone, without the judgement

    run = fit(
        parts.encoder,
        parts.positives,
        parts.loss,
        out=out,
        before=before,
        heads=parts.heads,
        ship=parts.ship,
        overwrite=True,
        quiet=True,
        **parts.training,
    )
    found |= {"seconds": time.perf_counter() - began, "pictures": len(parts.positives), "warnings": run.warnings}
    found["collapsed"] = any("collapsing" in warning for warning in run.warnings)
    return {**found, "pictures_per_second": run.train_pairs_per_second, "after": judge(run.model)}


def labels_task(name: str, train: Column, train_names: Sequence[str], cells: Column, names: Sequence[str]) -> Labels:
    """Return the task to tell the class of each cell, each cell its own cluster."""
    classes = sorted({*train_names, *names})
    place = {name: i for i, name in enumerate(classes)}
    of_train, of_cells = (np.array([place[name] for name in given], np.int64) for given in (train_names, names))
    return Labels(name, cells, of_cells, train, of_train, classes, np.arange(len(of_cells)))


def some(column: Column, rows: npt.NDArray[np.int64]) -> Column:
    """Return some rows of a column, held in memory."""
    return ListColumn(column.name, take(column, rows))


def hits(model: Embedder, task: Labels, k: int, *, probe: bool = True) -> dict[str, list[float]]:
    """Return whether each cell's class is told, (n,), by the k nearest training cells and by a probe."""
    predictions, found = predictions_of(model, task, 0), dict[str, list[float]]()
    metrics: dict[str, Any] = {f"knn@{k}": Knn(k), **({"probe": Probe()} if probe else {})}
    for name, metric in metrics.items():
        value: Any = metric(task, predictions)[name]
        found[name] = np.asarray(value, np.float64).tolist()
    return found


def paired(after: Sequence[Sequence[float]], before: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the difference of the hits of several seeds on the same cells, with its interval over cells."""
    one, other = (np.concatenate([np.asarray(hits, np.float64) for hits in seeds]) for seeds in (after, before))
    cells = np.concatenate([np.arange(len(hits)) for hits in after])
    values = {"after": one, "before": other}
    found = mean_intervals(values, {"gap": ("after", "before")}, cells, resamples=2000, seed=0)["gap"]
    return {"after": float(one.mean()), "before": float(other.mean()), "value": float((one - other).mean()), **found}
