"""A contrastive run that starts from a model that hiding has taught, and from the same network untaught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _quality import values_of
from _scratch import agreement

import nearfar as nf
from nearfar import config
from nearfar.evaluation.floors.bm25 import Bm25Floor
from nearfar.evaluation.floors.word_overlap import WordOverlapFloor
from nearfar.metrics.retrieval import Retrieval
from nearfar.sides import prepare_sides

Numbers = dict[str, Any]
FIGURE = {"sts": "spearman", "code": "mrr@10", "few": "mrr@10"}


def untaught(recipe: str, settings: list[str], out: str) -> Numbers:
    """Save the network of a recipe as it is before its first step, with the tokenizer that the recipe trains."""
    parts = config.build(config.load(recipe, settings))
    prepare_sides(parts.encoder, parts.positives)
    nf.Model(parts.encoder.eval()).save(Path(out))  # type: ignore[attr-defined]
    return {"model": out}


def task_of(study: str, data: str, work: str, split: str) -> Any:
    """Return what a study is judged by: "dev", where settings and weights are chosen, or "test"."""
    if study == "sts":
        return nf.data.Similarity(Path(data) / "B-stsb" / f"sts-{split}.csv.gz").task()
    return nf.positives.Columns(nf.data.Table(Path(work) / "code" / f"{split}.jsonl")).task("train")


def contrast(study: str, recipe: str, settings: list[str], out: str, data: str, work: str, looks: int) -> Numbers:
    """Train contrastively by a recipe; the weights are those of the best of some looks at dev, after the start."""
    parts = config.build(config.load(recipe, [*settings, f"training.best={FIGURE[study]}"]))
    steps = int(parts.training["steps"])
    every = max(1, steps // looks)
    dev, seen = task_of(study, data, work, "dev"), list[float]()

    def look(model: nf.Model) -> dict[str, float]:
        seen.append(figure(study, model, dev))
        return {FIGURE[study]: seen[-1]}

    training = {**parts.training, "evaluate_every": every, "patience": steps}
    prepare_sides(parts.encoder, parts.positives)
    before = figure(study, nf.Model(parts.encoder), dev)
    run = nf.fit(
        parts.encoder, parts.positives, parts.loss, out=Path(out), evaluate=look, overwrite=True, quiet=True, **training
    )
    found = {"seconds of fit": run.seconds, "train_pairs_per_second": run.train_pairs_per_second, "steps": steps}
    model = str(run.folder / "model")
    return found | {"dev": seen, "dev before": before, "every": every, "model": model}


def figure(study: str, model: nf.Model, task: Any) -> float:
    """Return Spearman's correlation, or the mean of MRR@10 over queries."""
    if study == "sts":
        return agreement(model.embed, task)
    return float(values_of(model, task, FIGURE[study]).mean())


def judge(study: str, data: str, work: str, model: str = "", floor: bool = False) -> Numbers:
    """Return what each row of the test gets: of graded pairs cosines and scores (2, n), else MRR@10 (q,)."""
    task = task_of(study, data, work, "test")
    if floor:
        made: Any = WordOverlapFloor() if study == "sts" else Bm25Floor()
        told = made(task, 0)
        values = np.stack([told.scores, task.scores]) if study == "sts" else Retrieval()(task, told)[FIGURE[study]]
    else:
        values = values_of(nf.Model.load(Path(model)), task, FIGURE[study])
    return {"values": np.asarray(values).round(7).tolist()}
