"""The measurements of the laboratory: curves over the temperature, and what short trainings come to."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.column import Column, Ids, content_ids, take
from nearfar.errors import InputError
from nearfar.evaluation import sources
from nearfar.tasks import Retrieval

if TYPE_CHECKING:
    from nearfar.model import Model
    from nearfar.positives.columns import Columns


HARDEST = (1, 10, 100)
BATCH = 512  # pairs of a step
SPACE = ("alignment", "uniformity", "random_cosine", "effective_rank")
LEAST = 16  # pairs that are measured on: below, no mean says anything


@dataclass(frozen=True)
class ShortTraining:
    """How the short trainings are made: `learning_rate` is the highest, it falls to zero over the steps."""

    steps: int
    learning_rate: float
    seed: int


def curves(model: Model, material: LabPairs, temperatures: Sequence[float]) -> dict[str, Any]:
    """Return the curves over the grid and some other temperatures, the limits, and how many negatives there were."""
    import torch

    from nearfar.lab.temperature import GRID, LANDMARKS, penalties

    grid = sorted({*GRID, *LANDMARKS, *temperatures})
    batch = material.measured.batch(np.arange(len(material.measured)))
    queries, keys = (
        torch.from_numpy(model.embed(take(material.measured.views[side], batch.rows[side])))
        for side in ("query", "key")
    )
    try:
        found = penalties(queries, keys, batch.pairs, [0.0, *grid, math.inf], hardest=HARDEST)
    except InputError as error:
        raise InputError(f"{material.name}: {error}; give pairs of more different texts") from error
    values = {
        "hardest": {str(k): found.hardest[k].tolist() for k in HARDEST if k < int(found.negatives.min())},
        "entropy": found.entropy.tolist(),
        "entropy_share": found.entropy_share.tolist(),
        "positive": found.positive.tolist(),
    }
    counts = found.negatives.double()
    negatives = {"mean": counts.mean().item(), "least": int(counts.min()), "most": int(counts.max())}
    return {
        "sample": {"queries": len(queries), "negatives": negatives},
        "curves": {"temperature": grid, **_part(values, slice(1, -1))},
        "limits": {"zero": _part(values, 0), "infinity": _part(values, -1)},
    }


def _part(values: dict[str, Any], place: int | slice) -> dict[str, Any]:
    return {key: _part(told, place) if isinstance(told, dict) else told[place] for key, told in values.items()}


def trainings(
    folder: str, material: LabPairs, temperatures: Sequence[float], settings: ShortTraining, *, quiet: bool
) -> dict[str, Any]:
    """Return what the model in a folder measures as it is, and after a short training at each temperature."""
    from nearfar.model import Model

    start = _measured(Model(Model.load(folder).encoder, {}), material, settings.seed)
    found = []
    for number, tau in enumerate(temperatures, 1):
        if not quiet:
            print(f"training {number} of {len(temperatures)}: temperature {tau:g}", file=sys.stderr, flush=True)
        model = _trained(Model.load(folder), material, tau, settings)
        found.append({"temperature": tau, **_measured(model, material, settings.seed)})
    return {"start": start, "trainings": found}


def _trained(model: Model, material: LabPairs, tau: float, settings: ShortTraining) -> Model:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.training.fit import fit

    assert material.training is not None
    with tempfile.TemporaryDirectory(prefix="nearfar-lab-") as aside:
        run = fit(
            model.encoder,
            material.training,
            InfoNCE(temperature=tau),
            out=Path(aside) / "run",
            quiet=True,
            steps=settings.steps,
            batch_size=batch_size(material),
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            checkpoint_every=settings.steps,
            keep=1,
        )
    return run.model


def batch_size(material: LabPairs) -> int:
    """Return the number of pairs of a step."""
    return 0 if material.training is None else min(BATCH, len(material.training))


def _measured(model: Model, material: LabPairs, seed: int) -> dict[str, Any]:
    """Return geometry, tolerance, and mrr@10 among the measured keys with its interval."""
    import torch

    from nearfar.evaluation.evaluate import evaluate
    from nearfar.lab.temperature import tolerance

    task = material.measured.task("train")
    report = evaluate(model, task, seed=seed)
    facts: dict[str, Any] = {name: report.metrics[name] for name in SPACE}
    if material.labels is None:
        facts["tolerance"] = 1 - facts["alignment"] / 2  # on the sphere that is the mean cosine of positive pairs
    else:
        texts = [text for text in task.documents.read(0, len(task.documents)) if text in material.labels]
        names = [material.labels[text] for text in texts]
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        x = torch.from_numpy(model.embed(texts))  # (v, d)
        facts["tolerance"] = float(tolerance(x, torch.tensor([number[name] for name in names])))
    facts["mrr@10"] = report.metrics["mrr@10"]
    facts["mrr@10 interval"] = {bound: report.intervals["mrr@10"][bound] for bound in ("low", "high")}
    return facts


@dataclass(frozen=True)
class Examples:
    """All pairs of DATA: cells (n, 2) of a query and its key in two columns, and each pair's label, if asked for."""

    queries: Column
    keys: Column
    cells: Ids
    labels: Sequence[Any] | None


@dataclass(frozen=True)
class LabPairs:
    """Pairs to measure on and, sharing no text with them, pairs to train on; labels by a key's text."""

    name: str
    measured: Columns
    training: Columns | None
    labels: dict[str, str] | None
    pairs: int  # that DATA has


def draw_pairs(
    model: Model, data: str, *, split: str | None, label: str | None, rows: int, train: int, seed: int
) -> LabPairs:
    """Draw `rows` pairs to measure on, of a small DATA half, and at most `train` others to train on.

    The model's prompts stand in front of the texts, which are then all there is.

    Errors: those of the data; a label that is no column; fewer than 16 pairs to measure on; none left to train on.
    """
    examples = _examples(data, split, label)
    n = len(examples.cells)
    order = np.random.default_rng(seed).permutation(n)
    size = min(rows, n // 2 if train else n)
    if size < LEAST:
        raise InputError(
            f"{data}: {n} pairs, of which {size} would be measured on; the laboratory needs {LEAST}: give "
            f"{2 * LEAST if train else LEAST} pairs or more"
        )
    chosen, rest = _closed(examples, order[:size]), order[size:]
    texts = _table(model, examples, chosen)
    others = _table(model, examples, _closed(examples, _foreign(examples, chosen, rest)[:train]))
    if train and len(others) < 2:
        raise InputError(
            f"{data}: no pairs to train on, as all share a text with the {size} that are measured on; give more data, "
            "fewer --rows, or --steps 0 for the curves alone"
        )
    labels = None
    if examples.labels is not None:
        told = zip((row["key"] for row in texts), (examples.labels[place] for place in chosen.tolist()))
        labels = {key: str(name) for key, name in reversed(list(told)) if name is not None}
    return LabPairs(data, _columns(texts), _columns(others) if others else None, labels, n)


def _examples(data: str, split: str | None, label: str | None) -> Examples:
    found = sources.pairs(data, split, usual="test", negative=[])
    if isinstance(found, Retrieval):
        if label is not None:
            raise InputError(f"--label {label}: a BEIR folder has no column for it; give a table of pairs")
        judged = [(q, d) for q, grades in found.relevance.items() for d, grade in grades.items() if grade > 0]
        texts = take(found.documents, np.array([d for _, d in judged], np.int64))
        cells = np.array([pair for pair, text in zip(judged, texts) if text.strip()], np.int64).reshape(-1, 2)
        return Examples(found.queries, found.documents, cells, None)
    row = found.examples[:, 0]
    labels = None if label is None else take(found.data.column(label), row)
    return Examples(found.views["query"], found.views["key"], found.examples[:, 1:], labels)


def _foreign(examples: Examples, chosen: Ids, rest: Ids) -> Ids:
    """Return those of the rest that share no text with the chosen ones."""
    shared = np.zeros(len(rest), bool)
    for side, column in enumerate((examples.queries, examples.keys)):
        ids = content_ids(column)[examples.cells[:, side]]
        shared |= np.isin(ids[rest], ids[chosen])
    return rest[~shared]


def _closed(examples: Examples, rows: Ids) -> Ids:
    """Return the pairs of some rows once each, and all others that DATA knows of between the same texts.

    Or a key that answers a query, though not in the row that was drawn, would count as its negative.
    """
    ids = [content_ids(c)[examples.cells[:, i]] for i, c in enumerate((examples.queries, examples.keys))]
    inside = np.flatnonzero(np.isin(ids[0], ids[0][rows]) & np.isin(ids[1], ids[1][rows]))
    first = np.unique(np.stack(ids, 1)[inside], axis=0, return_index=True)[1]
    return np.sort(inside[first])


def _table(model: Model, examples: Examples, rows: Ids) -> list[dict[str, str]]:
    queries = take(examples.queries, examples.cells[rows, 0])
    keys = take(examples.keys, examples.cells[rows, 1])
    before = model.prompts
    return [{"query": before["query"] + q, "key": before["key"] + k} for q, k in zip(queries, keys)]


def _columns(rows: list[dict[str, str]]) -> Columns:
    from nearfar import positives
    from nearfar.data.table import Table

    made: Columns = positives.Columns(Table(rows), query="query", key="key")
    return made
