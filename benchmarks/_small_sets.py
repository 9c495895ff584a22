"""Sets of pairs, from which a few hundred are drawn to train and others to judge by; and one run of the recipe."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _quality import values_of

import nearfar as nf
from nearfar import config
from nearfar.column import ListColumn
from nearfar.data.tables.clusters import pair_clusters
from nearfar.tasks import Retrieval

Pair = tuple[str, str]
ENOUGH = 3_000  # pairs of a set, of which all are drawn
SHORTEST = 60  # characters of a paragraph


def study(
    name: str, pairs: int, seed: int, data: str, overrides: list[str], queries: int, documents: int
) -> dict[str, Any]:
    """Fine-tune on some pairs of a set, and judge before and after; {"absent": why} where the set is not here."""
    try:
        rows = list(_table(Path(name)) if name.endswith((".jsonl", ".jsonl.gz")) else SETS[name](Path(data)))
    except FileNotFoundError as error:
        return {"absent": str(error)}
    train, task = split(rows, pairs, seed, queries, documents)
    with tempfile.TemporaryDirectory() as scratch:
        table = [{"query": query, "key": key} for query, key in train]
        settings = ["data.heldout=0", f"training.seed={seed}", *overrides]
        parts = config.build({**config.load("finetune", settings), "data": {"name": "table", "path": table}})
        model = nf.Model(parts.encoder)
        before = values_of(model, task, "mrr@10")
        given: Any = {"out": Path(scratch) / "run", "quiet": True, **parts.training}
        run = nf.fit(parts.encoder, parts.positives, parts.loss, **given)
        lines = (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    selected = next((event for event in events if event["event"] == "select"), None)
    validated = [(e["step"], round(e["metrics"]["validation_mrr"], 4)) for e in events if e["event"] == "validate"]
    steps = next(event["steps"] for event in events if event["event"] == "start")
    return {
        "set": name,
        "before": before.tolist(),
        "after": values_of(run.model, task, "mrr@10").tolist(),
        "groups": task.clusters.tolist(),
        "documents": len(task.documents),
        "trained": len(train),
        "steps": steps,
        "step": steps if selected is None else selected["step"],
        "said": str(validated),
    }


def split(rows: list[Pair], pairs: int, seed: int, queries: int, documents: int) -> tuple[list[Pair], Retrieval]:
    """Return about so many pairs to train on, whole groups that share a text, and a task of other groups' queries."""
    group = pair_clusters(ListColumn("query", [q for q, _ in rows]), ListColumn("key", [k for _, k in rows]))
    order = np.random.default_rng([seed, 1]).permutation(group.max() + 1)
    place = np.argsort(order)[group]  # (n,) the place of each pair's group in a random order
    by_place = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))
    cut = int(np.searchsorted(ends, pairs))  # groups up to here are for training
    trained = by_place[place[by_place] <= cut]
    others = by_place[place[by_place] > cut]
    judged = list(dict.fromkeys(rows[i][0] for i in others.tolist()))[:queries]
    if not judged:
        raise SystemExit(f"{len(rows)} pairs are too few to train on {pairs} of them and to judge by others")
    chosen = set(judged)
    first = [i for i in others.tolist() if rows[i][0] in chosen]
    rest = [*trained.tolist(), *(i for i in others.tolist() if rows[i][0] not in chosen)]
    texts = list(dict.fromkeys(rows[i][1] for i in [*first, *rest]))
    texts = texts[: max(documents, len({rows[i][1] for i in first}))]
    at, query_at = {text: i for i, text in enumerate(texts)}, {text: i for i, text in enumerate(judged)}
    relevance: dict[int, dict[int, int]] = {}
    clusters = np.zeros(len(judged), np.int64)
    for i in first:
        query = query_at[rows[i][0]]
        relevance.setdefault(query, {})[at[rows[i][1]]] = 1
        clusters[query] = group[i]
    ids = [f"q{i}" for i in range(len(judged))], [f"d{i}" for i in range(len(texts))]
    columns = ListColumn("query", judged), ListColumn("key", texts)
    return [rows[i] for i in trained.tolist()], Retrieval("judged", *columns, *ids, relevance, clusters)


def _table(path: Path) -> Iterator[Pair]:
    table = nf.data.Table(path)
    yield from zip(*(table.text(side).read(0, len(table)) for side in ("query", "key")), strict=True)


def _trecqa(place: Path) -> Iterator[Pair]:
    """A question and each sentence that answers it, of all three parts."""
    for part in ("train", "dev", "test"):
        with gzip.open(place / "C-trecqa" / f"{part}.csv.gz", "rt", encoding="utf-8") as file:
            yield from ((row["qtext"], row["atext"]) for row in csv.DictReader(file) if row["label"] == "1")


def _nl2bash(place: Path) -> Iterator[Pair]:
    with gzip.open(place / "C-nl2bash" / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for i in np.random.default_rng(0).permutation(len(rows))[:ENOUGH].tolist():
        yield rows[i]["nl"], rows[i]["cmd"]


def _docstrings(_: Path) -> Iterator[Pair]:
    positives = config.build(config.load("python_packages", [])).positives
    chosen: npt.NDArray[np.int64] = np.random.default_rng(0).choice(len(positives), ENOUGH, replace=False)
    yield from ((row["query"], row["key"]) for row in positives.describe(chosen))


def _faq(_: Path) -> Iterator[Pair]:
    """The questions of Perl's FAQ, each with every paragraph of prose of its answer."""
    found = subprocess.run(["perldoc", "-l", "perlfaq4"], capture_output=True, text=True, check=False).stdout.strip()
    if not found or not Path(found).is_file():
        raise FileNotFoundError("perlfaq4 is not installed (Debian: perl-doc)")
    for pod in sorted(Path(found).parent.glob("perlfaq[1-9].pod")):
        question = ""
        for paragraph in re.split(r"\n\s*\n", pod.read_text(encoding="utf-8", errors="replace")):
            if paragraph.startswith("="):
                command, _space, title = paragraph.partition(" ")
                question = " ".join(title.split()) if command == "=head2" else ""
                continue
            text = re.sub(r"[A-Z]<+\s*([^<>]*?)\s*>+", r"\1", " ".join(paragraph.split()))
            is_prose = not paragraph.startswith((" ", "\t")) and len(text) >= SHORTEST
            if question and is_prose and not text.startswith("(contributed"):
                yield question, text


SETS: dict[str, Callable[[Path], Iterator[Pair]]] = {
    "trecqa": _trecqa,
    "nl2bash": _nl2bash,
    "docstrings": _docstrings,
    "faq": _faq,
}
