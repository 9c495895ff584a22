"""One study of quality: its data, its training, and what each query of its tests gets."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

import nearfar as nf
from nearfar import config
from nearfar.column import chunks
from nearfar.compute import hardware
from nearfar.contracts import Predictions
from nearfar.metrics.retrieval import Retrieval
from nearfar.tasks import Retrieval as RankingTask
from nearfar.tasks import Similarity, Task
from nearfar.vectors.topk import topk

COLLECTIONS = ("cranfield", "cisi", "npl")
METRICS = {"adapt": "ndcg@10", "nl2bash": "mrr@10", "code": "mrr@10"}
Groups = Iterator[tuple[list[str], dict[str, Task]]]  # settings of a model to train, and what it is judged by
HELD_OUT = 1_000  # docstrings of modules that training does not see


def study(study: str, recipe: str, overrides: list[str], out: str, data: str) -> dict[str, Any]:
    """Train by a recipe, or take the model as it comes, and leave values.npz in `out`: of each task one a query.

    Of STS-B, where there are several models, those of the one that has forgotten most.
    """
    start, folder, place = time.perf_counter(), Path(out), Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    sts = nf.data.Similarity(place / "B-stsb" / "sts-test.csv.gz").task()
    values: dict[str, npt.NDArray[np.float64]] = {}
    graded = []
    for i, (settings, tasks) in enumerate(STUDIES[study](place, folder)):
        model = _trained(recipe, [*settings, *overrides], folder / f"run-{i}") if recipe else nf.Model.load("minilm")
        with torch.autocast("cpu", torch.bfloat16, enabled=hardware.cpu_bf16()):
            values |= {name: values_of(model, task, METRICS[study]) for name, task in tasks.items()}
            graded.append(values_of(model, sts, ""))
    values["sts-b"] = min(graded, key=lambda pair: float(spearmanr(*pair).statistic))
    savez: Any = np.savez
    savez(folder / "values.npz", **values)
    return {"seconds": time.perf_counter() - start}


def _trained(recipe: str, settings: list[str], out: Path) -> nf.Model:
    parts = config.build(config.load(recipe, settings))
    run = nf.fit(
        parts.encoder,
        parts.positives,
        parts.loss,
        out=out,
        overwrite=True,
        quiet=True,
        refresh=parts.refresh,
        **parts.training,
    )
    return run.model


def values_of(model: nf.Model, task: Task, metric: str) -> npt.NDArray[np.float64]:
    """Return a metric of each query (q,); of graded pairs cosines and scores (2, n)."""
    if isinstance(task, Similarity):
        first, second = (model.embed(side.read(0, len(side))) for side in (task.first, task.second))
        return np.stack([(first * second).sum(1), task.scores]).astype(np.float64)
    assert isinstance(task, RankingTask), "the other tasks have no ranking"
    queries = model.embed(task.queries.read(0, len(task.queries)), "query")
    documents = task.documents.read(0, len(task.documents))
    full = np.array([bool(cell.strip()) for cell in documents])
    keys = np.zeros((len(documents), model.dim), np.float32)
    keys[full] = model.embed([cell for cell in documents if cell.strip()], "key")
    found: npt.NDArray[np.float64] = Retrieval()(task, Predictions(ranking=topk(queries, keys, 100, allowed=full)))[
        metric
    ]
    return found


def _adapt(place: Path, folder: Path) -> Groups:
    """The documents of three collections, each with a model of its own, and their queries to judge by."""
    for name in COLLECTIONS:
        task = nf.data.Beir(place / f"C-{name}").task()
        texts = [cell for part in chunks(task.documents) for cell in part if cell.strip()]
        path = _lines(folder / f"{name}.jsonl", [{"text": text} for text in texts])
        yield [f"data.path={path}", "data.heldout=0"], {name: task}


def _nl2bash(place: Path, folder: Path) -> Groups:
    """English to shell; no command of the test split is in training, and no description either."""
    with gzip.open(place / "C-nl2bash" / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    tested = {row["nl"] for row in rows if row["split"] == "test"}
    pairs = [{"query": r["nl"], "key": r["cmd"]} for r in rows if r["split"] == "train" and r["nl"] not in tested]
    test = [{"query": r["nl"], "key": r["cmd"]} for r in rows if r["split"] == "test"]
    tasks: dict[str, Task] = {"nl2bash": nf.positives.Columns(nf.data.Table(test)).task("train")}
    yield [f"data.path={_lines(folder / 'pairs.jsonl', pairs)}", "data.heldout=0"], tasks


def _code(_: Path, folder: Path) -> Groups:
    """Docstrings to source: 3,000 pairs to learn from, and others of modules that training does not see."""
    positives = config.build(config.load("python-packages", [])).positives
    random = np.random.default_rng(0)
    rows = positives.describe(random.choice(len(positives), 3_000, replace=False))
    pairs = [{"query": row["query"], "key": row["key"]} for row in rows]
    held: Any = positives.task("heldout")
    queries = held.queries.read(0, len(held.queries))
    documents = held.documents.read(0, len(held.documents))
    chosen = random.permutation(len(queries))[:HELD_OUT].tolist()
    test = [{"query": queries[q], "key": documents[k]} for q in chosen for k in held.relevance[q]]
    tasks: dict[str, Task] = {"code": nf.positives.Columns(nf.data.Table(test)).task("train")}
    yield [f"data.path={_lines(folder / 'pairs.jsonl', pairs)}", "data.heldout=0"], tasks


def _lines(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


STUDIES: dict[str, Callable[[Path, Path], Groups]] = {
    "adapt": _adapt,
    "nl2bash": _nl2bash,
    "code": _code,
}
