"""Judged sets of texts, each as a retrieval task: the classic collections, and others to choose settings on."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.tasks import Retrieval

MOST = 300  # queries of a set that is only chosen on


def task_of(name: str, data: Path) -> Retrieval:
    """Return the task of a set by its name; of `CHOSEN_ON` at most MOST queries."""
    if name in JUDGED:
        task: Retrieval = nf.data.Beir(data / f"C-{name}").task()
        return task
    return CHOSEN_ON[name](data)


def _bash(data: Path) -> Retrieval:
    """English to shell commands, of the test split, among all commands."""
    with gzip.open(data / "C-nl2bash" / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    tested = {row["nl"] for row in rows if row["split"] == "test"}
    return _task("nl2bash", [(row["nl"], row["cmd"]) for row in rows], tested)


def _answers(data: Path) -> Retrieval:
    """Questions to the sentences that answer them, among all sentences that were judged for any question."""
    pairs, texts = [], []
    for part in ("train", "dev", "test"):
        with gzip.open(data / "C-trecqa" / f"{part}.csv.gz", "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                texts.append(row["atext"])
                if row["label"] == "1":
                    pairs.append((row["qtext"], row["atext"]))
    return _task("trecqa", pairs, {query for query, _ in pairs}, texts)


def _evidence(data: Path) -> Retrieval:
    """Claims to the sentences that were judged for them, among those of all claims."""
    with gzip.open(data / "G-climate-fever" / "climate-fever.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pairs = [(row["claim"], evidence["evidence"]) for row in rows for evidence in row["evidences"]]
    return _task("climate-fever", pairs, {row["claim"] for row in rows})


def _captions(data: Path) -> Retrieval:
    """A caption of a picture to the four others of it."""
    folder = data / "D-multi30k" / "task2"
    texts = [gzip.decompress((folder / f"val.{i}.en.gz").read_bytes()).decode().splitlines() for i in range(1, 6)]
    pairs = [(first, other) for first, *others in zip(*texts, strict=True) for other in others]
    return _task("captions", pairs, {query for query, _ in pairs})


def _task(name: str, pairs: list[tuple[str, str]], queries: set[str], more: list[str] | None = None) -> Retrieval:
    """Return the task of pairs of a query and a text that is right; more: texts that are right for none."""
    asked = sorted(queries)
    chosen = np.sort(np.random.default_rng(0).permutation(len(asked))[:MOST])
    asked = [asked[i] for i in chosen.tolist()]
    texts = list(dict.fromkeys([*(text for _, text in pairs), *(more or [])]))
    at, query_at = {text: i for i, text in enumerate(texts)}, {text: i for i, text in enumerate(asked)}
    relevance: dict[int, dict[int, int]] = {}
    for query, text in pairs:
        if query in query_at:
            relevance.setdefault(query_at[query], {})[at[text]] = 1
    ids = [f"q{i}" for i in range(len(asked))], [f"d{i}" for i in range(len(texts))]
    columns = ListColumn("query", asked), ListColumn("text", texts)
    return Retrieval(name, *columns, *ids, relevance, np.arange(len(asked)))


JUDGED = ("cranfield", "cisi", "npl")
CHOSEN_ON: dict[str, Callable[[Path], Retrieval]] = {
    "nl2bash": _bash,
    "trecqa": _answers,
    "climate-fever": _evidence,
    "captions": _captions,
}
