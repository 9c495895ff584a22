"""The measurements of the temperature laboratory: the pairs, the loss over a grid of temperatures, short trainings."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar.column import Column, Ids, content_ids, take
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.evaluation import sources
from nearfar.lab.temperature import GRID, LANDMARKS, penalties, tolerance
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.printable import show
from nearfar.tasks import Retrieval

HARDEST = (1, 10, 100)  # numbers of hardest negatives whose share of the gradient is measured
BATCH = 512  # pairs of a step
SPACE = ("alignment", "uniformity", "random_cosine", "effective_rank")
LEAST = 16  # pairs to measure on: a mean over fewer says nothing


@dataclass(frozen=True)
class LabPairs:
    """Pairs to measure on and, sharing no text with them, pairs to train on."""

    name: str  # of DATA
    measured: Columns
    training: Columns | None
    labels: dict[str, str] | None  # by the key's text, of the measured pairs
    pairs: int  # that DATA has


@dataclass(frozen=True)
class ShortTraining:
    """The settings of the short trainings; the learning rate falls from `learning_rate` to zero over the steps."""

    steps: int
    learning_rate: float
    seed: int


def draw_pairs(
    model: Model,
    data: str,
    reading: sources.Reading = sources.AS_IT_IS,
    *,
    split: str | None,
    label: str | None,
    rows: int,
    train: int,
    seed: int,
) -> LabPairs:
    """Draw `rows` pairs to measure on, at most half of DATA, and at most `train` others to train on.

    reading: how DATA is read. With train = 0 all of DATA may be measured. The texts come with the model's prompts in
    front.

    Errors: `InputError`: those of the data; a label that is no column; fewer than 16 pairs to measure on; none left to
    train on.
    """
    data_pairs = _read_pairs(data, reading, split, label)
    n = len(data_pairs.cells)
    order = np.random.default_rng(seed).permutation(n)
    size = min(rows, n // 2 if train else n)
    if size < LEAST:
        raise InputError(
            f"{data}: {n} pairs, of which {size} would be measured on; the laboratory needs {LEAST}: give "
            f"{2 * LEAST if train else LEAST} pairs or more"
        )
    chosen, rest = _completed(data_pairs, order[:size]), order[size:]
    measured = _texts(model, data_pairs, chosen)
    training = _texts(model, data_pairs, _completed(data_pairs, _disjoint(data_pairs, chosen, rest)[:train]))
    if train and len(training) < 2:
        raise InputError(
            f"{data}: no pairs to train on, as all share a text with the {size} that are measured on; give more data, "
            "fewer --rows, or --steps 0 for the curves alone"
        )
    labels = None
    if data_pairs.labels is not None:
        label_of_pair = [data_pairs.labels[pair] for pair in chosen.tolist()]
        by_key = zip((row["key"] for row in measured), label_of_pair)
        labels = {key: str(name) for key, name in reversed(list(by_key)) if name is not None}
    return LabPairs(data, _columns(measured), _columns(training) if training else None, labels, n)


def curves(model: Model, sample: LabPairs, temperatures: Sequence[float]) -> dict[str, Any]:
    """Return the penalties at the temperatures of the grid and some others, their limits, and numbers of negatives."""
    grid = sorted({*GRID, *LANDMARKS, *temperatures})
    batch = sample.measured.batch(np.arange(len(sample.measured)))
    queries, keys = (
        torch.from_numpy(model.embed(take(sample.measured.views[side], batch.rows[side]))) for side in ("query", "key")
    )
    try:
        result = penalties(queries, keys, batch.pairs, [0.0, *grid, math.inf], hardest=HARDEST)
    except InputError as error:
        raise InputError(f"{sample.name}: {error}; give pairs of more different texts") from error
    values = {
        "hardest": {str(k): result.hardest[k].tolist() for k in HARDEST if k < int(result.negatives.min())},
        "entropy": result.entropy.tolist(),
        "entropy_share": result.entropy_share.tolist(),
        "positive": result.positive.tolist(),
    }
    counts = result.negatives.double()
    negatives = {"mean": counts.mean().item(), "least": int(counts.min()), "most": int(counts.max())}
    return {
        "sample": {"queries": len(queries), "negatives": negatives},
        "curves": {"temperature": grid, **_at(values, slice(1, -1))},
        "limits": {"zero": _at(values, 0), "infinity": _at(values, -1)},
    }


def trainings(
    folder: str, sample: LabPairs, temperatures: Sequence[float], settings: ShortTraining, *, quiet: bool
) -> dict[str, Any]:
    """Return the metrics of the model in a folder as it is, and after a short training at each temperature."""
    start = _metrics(Model(Model.load(folder).encoder, {}), sample, settings.seed)
    results = []
    for number, tau in enumerate(temperatures, 1):
        if not quiet:
            show(f"training {number} of {len(temperatures)}: temperature {tau:g}", error=True, flush=True)
        model = _trained(Model.load(folder), sample, tau, settings)
        results.append({"temperature": tau, **_metrics(model, sample, settings.seed)})
    return {"start": start, "trainings": results}


def batch_size(sample: LabPairs) -> int:
    """Return the number of pairs of a step; 0 without pairs to train on."""
    return 0 if sample.training is None else min(BATCH, len(sample.training))


@dataclass(frozen=True)
class _DataPairs:
    """All pairs of DATA: rows (n, 2) of a query and its key in two columns, and each pair's label."""

    queries: Column
    keys: Column
    cells: Ids
    labels: Sequence[Any] | None


def _read_pairs(data: str, reading: sources.Reading, split: str | None, label: str | None) -> _DataPairs:
    source = sources.pairs(data, split, reading, usual="test", negative=[])
    if isinstance(source, Retrieval):
        if label is not None:
            raise InputError(f"--label {label}: a BEIR folder has no column for it; give a table of pairs")
        relevant = [(q, d) for q, grades in source.relevance.items() for d, grade in grades.items() if grade > 0]
        texts = take(source.documents, np.array([d for _, d in relevant], np.int64))
        cells = np.array([pair for pair, text in zip(relevant, texts) if text.strip()], np.int64).reshape(-1, 2)
        return _DataPairs(source.queries, source.documents, cells, None)
    row = source.examples[:, 0]
    labels = None if label is None else take(source.data.column(label), row)
    return _DataPairs(source.views["query"], source.views["key"], source.examples[:, 1:], labels)


def _disjoint(data_pairs: _DataPairs, chosen: Ids, rest: Ids) -> Ids:
    """Return those of the rest that share no text with the chosen pairs."""
    shared = np.zeros(len(rest), bool)
    for side, column in enumerate((data_pairs.queries, data_pairs.keys)):
        ids = content_ids(column)[data_pairs.cells[:, side]]
        shared |= np.isin(ids[rest], ids[chosen])
    return rest[~shared]


def _completed(data_pairs: _DataPairs, rows: Ids) -> Ids:
    """Return the pairs of some rows once each, and all other pairs of DATA between the same queries and keys.

    Without those, a drawn key that answers a drawn query, by a row that was not drawn, would count as its negative.
    """
    ids = [content_ids(c)[data_pairs.cells[:, i]] for i, c in enumerate((data_pairs.queries, data_pairs.keys))]
    inside = np.flatnonzero(np.isin(ids[0], ids[0][rows]) & np.isin(ids[1], ids[1][rows]))
    first = np.unique(np.stack(ids, 1)[inside], axis=0, return_index=True)[1]
    return np.sort(inside[first])


def _texts(model: Model, data_pairs: _DataPairs, rows: Ids) -> list[dict[str, str]]:
    """Return the texts of some pairs, with the model's prompts in front."""
    queries = take(data_pairs.queries, data_pairs.cells[rows, 0])
    keys = take(data_pairs.keys, data_pairs.cells[rows, 1])
    prompts = model.prompts
    return [{"query": prompts["query"] + q, "key": prompts["key"] + k} for q, k in zip(queries, keys)]


def _columns(rows: list[dict[str, str]]) -> Columns:
    return Columns(Table(rows), query="query", key="key")


def _at(values: dict[str, Any], index: int | slice) -> dict[str, Any]:
    """Return the values at one temperature, or at a range of temperatures."""
    return {key: _at(item, index) if isinstance(item, dict) else item[index] for key, item in values.items()}


def _trained(model: Model, sample: LabPairs, tau: float, settings: ShortTraining) -> Model:
    from nearfar.losses.infonce import InfoNCE  # here and below, as curves without trainings need none of it
    from nearfar.training.fit import fit

    assert sample.training is not None
    with tempfile.TemporaryDirectory(prefix="nearfar-lab-") as folder:
        run = fit(
            model.encoder,
            sample.training,
            InfoNCE(temperature=tau),
            out=Path(folder) / "run",
            quiet=True,
            steps=settings.steps,
            batch_size=batch_size(sample),
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            checkpoint_every=settings.steps,
            keep=1,
        )
    return run.model


def _metrics(model: Model, sample: LabPairs, seed: int) -> dict[str, Any]:
    """Return the metrics of the space, the tolerance, and mrr@10 among the measured keys with its interval."""
    from nearfar.evaluation.evaluate import evaluate

    task = sample.measured.task("train")
    report = evaluate(model, task, baselines=[], seed=seed)
    metrics: dict[str, Any] = {name: report.metrics[name] for name in SPACE}
    if sample.labels is None:
        metrics["tolerance"] = 1 - metrics["alignment"] / 2  # on the sphere, the mean cosine of positive pairs
    else:
        texts = [text for text in task.documents.read(0, len(task.documents)) if text in sample.labels]
        names = [sample.labels[text] for text in texts]
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        x = torch.from_numpy(model.embed(texts))  # (v, d)
        metrics["tolerance"] = float(tolerance(x, torch.tensor([number[name] for name in names])))
    metrics["mrr@10"] = report.metrics["mrr@10"]
    if not math.isnan(report.intervals["mrr@10"]["low"]):  # too few clusters for an interval
        metrics["mrr@10 interval"] = {bound: report.intervals["mrr@10"][bound] for bound in ("low", "high")}
    return metrics
