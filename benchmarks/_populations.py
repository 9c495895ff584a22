"""Populations for `coverage.py`: what each query of real data got from real systems, some of it near a ceiling."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.contracts import Predictions, RankedDocuments
from nearfar.evaluation.baselines import floor, floor_names
from nearfar.evaluation.predictions import predictions_of
from nearfar.metrics.retrieval import Retrieval as RankingMetrics
from nearfar.tasks import Retrieval, Similarity

Values = npt.NDArray[np.float64]
SYSTEMS = ("minilm", "static", "bm25", "bm25-stems")  # static: random word vectors, learnt from nothing
LEARNT = ("captions", "nl2bash")  # of the longer ones MiniLM would take minutes
METRIC = {"cranfield": "ndcg@10"}  # of the others mrr@10
# In a pool only the relevant documents of so many queries are ranked: an easy task, near the ceiling.
POOLS = {"captions": (40, 10, 4), "nl2bash": (40, 10, 4)}


@dataclass(frozen=True)
class Judged:
    """What each of n queries of a data set got from one system, values (n,), and the clusters (n,) of the queries."""

    data: str
    system: str
    values: Values
    clusters: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Graded:
    """Similarities and grades of n pairs of a data set from one system, each (n,)."""

    data: str
    system: str
    scores: Values
    grades: Values


def retrieval(place: Path) -> Iterator[Judged]:
    """Yield what each query got, of every data set, pool and system."""
    for data, make in TASKS.items():
        task = make(place)
        for system in SYSTEMS if data in LEARNT else SYSTEMS[1:]:
            ranking = _predictions(system, task).ranking
            assert ranking is not None, "all systems rank"
            found = RankingMetrics()(task, Predictions(ranking=ranking))[METRIC.get(data, "mrr@10")]
            yield Judged(data, system, found, task.clusters)
            for size in POOLS.get(data, ()):
                alone = np.arange(len(task.queries))
                yield Judged(f"{data}, pools of {size}", system, _pooled(task, ranking, size), alone)


def similarity(place: Path) -> Iterator[Graded]:
    """Yield the scores and the grades of STS-B, of word vectors and of word overlap."""
    task = nf.data.Similarity(place / "B-stsb" / "sts-test.csv.gz").task()
    for system in ("static", "word-overlap"):
        scores = _predictions(system, task).scores
        assert scores is not None, "pairs have cosines"
        yield Graded("stsb", system, scores, task.scores)


def _predictions(system: str, task: Retrieval | Similarity) -> Predictions:
    if system in floor_names():
        return floor(system)(task, 0)
    if system == "minilm":
        return predictions_of(nf.Model.load("minilm"), task, 0)
    torch.manual_seed(0)
    encoder = nf.encoders.Static(dim=256, vocabulary=8_000)
    sides = (task.queries, task.documents) if isinstance(task, Retrieval) else (task.first, task.second)
    full = [[cell for cell in side.read(0, len(side)) if cell.strip()] for side in sides]  # two abstracts are empty
    encoder.prepare([ListColumn(side.name, cells) for side, cells in zip(sides, full)])
    return predictions_of(nf.Model(encoder), task, 0)


def _pooled(task: Retrieval, ranking: RankedDocuments, size: int) -> Values:
    """Return mrr@10 of each query (n,) among the relevant documents of `size` queries alone."""
    n = len(task.queries)
    found = np.zeros(n)  # the reciprocal rank of the first relevant document
    order = np.random.default_rng(0).permutation(n)
    for start in range(0, n, size):
        queries = order[start : start + size].tolist()
        pool = {row for query in queries for row in task.relevance[query]}
        for query in queries:
            ranked = [row for row in ranking.rows[query].tolist() if row in pool]
            place = next((i for i, row in enumerate(ranked) if task.relevance[query].get(row, 0) > 0), None)
            found[query] = 0.0 if place is None else 1 / (place + 1)
    return np.where(found >= 0.1, found, 0.0)


def _of_pairs(pairs: list[tuple[str, str, str]]) -> Retrieval:
    """Return the task of queries, keys and the clusters that they belong to."""
    rows = [{"query": query, "key": key, "cluster": cluster} for query, key, cluster in pairs]
    task = nf.positives.Columns(nf.data.Table(rows), cluster="cluster").task("train")
    assert isinstance(task, Retrieval), "positives from columns make a retrieval task"
    return task


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def _captions(place: Path) -> Retrieval:
    """Two captions of one picture by two people."""
    folder = place / "D-multi30k" / "task2"
    first, second = (_lines(folder / f"test_2016.{number}.en.gz") for number in (1, 2))
    return _of_pairs([(one, other, str(i)) for i, (one, other) in enumerate(zip(first, second))])


def _nl2bash(words: int) -> Callable[[Path], Retrieval]:
    """Descriptions of commands; commands that begin with the same words are a cluster."""

    def make(place: Path) -> Retrieval:
        rows = [json.loads(line) for line in _lines(place / "C-nl2bash" / "pairs.jsonl.gz")]
        test = [row for row in rows if row["split"] == "test"]
        return _of_pairs([(row["nl"], row["cmd"], " ".join(row["cmd"].split()[:words])) for row in test])

    return make


def _tatoeba(place: Path) -> Retrieval:
    """Sentences of 112 languages, each a cluster, and their English; a thirtieth of each language: 3 to 34."""
    rows = [line.split("\t") for line in _lines(place / "D-tatoeba" / "tatoeba-v1.tsv.gz")[1:]]
    return _of_pairs([(foreign, english, language) for language, _, foreign, english in rows[::30]])


def _beir(name: str) -> Callable[[Path], Retrieval]:
    def make(place: Path) -> Retrieval:
        task = nf.data.Beir(place / name).task()
        assert isinstance(task, Retrieval), f"{name} is a BEIR folder"
        return task

    return make


ONE_LARGE = "nl2bash, one large cluster"  # 75 of 979 queries; the others have at most 14
TASKS: dict[str, Callable[[Path], Retrieval]] = {
    "captions": _captions,
    "nl2bash": _nl2bash(5),  # clusters of 1 to 19
    ONE_LARGE: _nl2bash(4),
    "tatoeba": _tatoeba,
    "cranfield": _beir("C-cranfield"),
}
