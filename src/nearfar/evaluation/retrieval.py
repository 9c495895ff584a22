"""Judge models and baselines by a retrieval task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, ListColumn, take
from nearfar.contracts import Values
from nearfar.evaluation import space
from nearfar.evaluation.intervals import Interval, mean_intervals
from nearfar.evaluation.report import Differences, Report, about_intervals, about_model
from nearfar.metrics.retrieval import Retrieval
from nearfar.tasks import Retrieval as Task
from nearfar.text.bm25 import BASELINES, Bm25, reciprocal_rank_fusion
from nearfar.vectors.embed import Embedder, embed_column
from nearfar.vectors.topk import Ranking, topk

DEPTH = 1_000  # of rankings; MAP counts relevant documents beyond it as never found
Place = tuple[str, str, str]  # kind of number, name of the system, metric
_SHOWN = 10
_LONGEST = 300  # characters of a text


@dataclass(frozen=True)
class _System:
    """A model or a baseline with what it made of the task."""

    ranking: Ranking
    values: dict[str, Values]  # (q,) each
    about: dict[str, Any]
    space: dict[str, float] = field(default_factory=dict)
    histogram: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """Means over queries, then the space's own numbers."""
        return {**{name: float(values.mean()) for name, values in self.values.items()}, **self.space}


def judge_retrieval(
    model: Embedder,
    task: Task,
    baselines: Mapping[str, Embedder | None],
    *,
    fusion: bool,
    resamples: int,
    seed: int,
) -> Report:
    """Return the report; a baseline of None is the form of BM25 that its name says."""
    whole, task = task, _judged(task)
    own = _dense(model, task, seed)
    peers = {
        name: _lexical(task, name) if baseline is None else _dense(baseline, task, seed)
        for name, baseline in baselines.items()
    }
    fused = {name: _fused(own, peer, task) for name, peer in peers.items()} if fusion else {}
    compared = _compare(own, peers, fused)
    spread = mean_intervals(compared, task.clusters, resamples=resamples, seed=seed)
    return Report(
        task=task.name,
        metrics=own.numbers,
        intervals={metric: spread["intervals", "", metric] for metric in own.values},
        baseline={name: peer.numbers for name, peer in peers.items()},
        difference=_nested("difference", compared, spread),
        fusion={name: both.numbers for name, both in fused.items()},
        fusion_difference=_nested("fusion_difference", compared, spread),
        protocol={
            **_sizes(whole, task),
            "interval": about_intervals(task.clusters, "queries", resamples, seed),
            "model": own.about,
            "baselines": {name: peer.about for name, peer in peers.items()},
            "difference": "model minus baseline, fusion minus baseline or model; in pairs, query by query",
            **(
                {"fusion": "reciprocal rank fusion, constant 60, of the model's and the baseline's ranking"}
                if fused
                else {}
            ),
            "metrics": Retrieval.meaning | space.MEANING,
            "worst": "lowest mrr@10 first, then deepest first relevant document",
            "notes": task.notes,
        },
        histogram=own.histogram,
        worst=worst(task, own.ranking, own.values["mrr@10"]),
    )


def _compare(own: _System, peers: Mapping[str, _System], fused: Mapping[str, _System]) -> dict[Place, Values]:
    """Return all that gets an interval, (q,) each, so that one bootstrap resamples it all alike."""
    pairs = {("difference", name): (own, peer) for name, peer in peers.items()}
    for number, (name, both) in enumerate(fused.items()):
        pairs["fusion_difference", name] = both, peers[name]
        pairs["fusion_difference", "model" if number == 0 else f"model, of the fusion with {name}"] = both, own
    gaps = {
        (*place, metric): one.values[metric] - other.values[metric]
        for place, (one, other) in pairs.items()
        for metric in own.values
    }
    return {("intervals", "", metric): values for metric, values in own.values.items()} | gaps


def _nested(kind: str, compared: Mapping[Place, Values], spread: Mapping[Place, Interval]) -> Differences:
    nested: Differences = {}
    for (sort, name, metric), values in compared.items():
        if sort == kind:
            place = sort, name, metric
            nested.setdefault(name, {})[metric] = {"value": float(values.mean()), **spread[place]}
    return nested


def _judged(task: Task) -> Task:
    """Return the task with only those queries that have a relevant document."""
    rows = np.array(sorted(q for q, grades in task.relevance.items() if max(grades.values(), default=0) > 0), np.int64)
    if len(rows) == len(task.queries):
        return task
    return replace(
        task,
        queries=ListColumn(task.queries.name, take(task.queries, rows)),
        query_ids=[task.query_ids[row] for row in rows],
        relevance={place: task.relevance[int(row)] for place, row in enumerate(rows)},
        clusters=task.clusters[rows],
    )


def _dense(model: Embedder, task: Task, seed: int) -> _System:
    queries = embed_column(model, task.queries, "query", empty=False)  # (q, d)
    documents = embed_column(model, task.documents, "key", empty=True)  # (m, d)
    ranking = topk(queries, documents, DEPTH)
    drawn = space.sample(queries, documents, _relevant(task, best=True), seed)
    about = about_model(model, queries.shape[1])
    about["space"] = {"vectors": len(drawn.vectors), "pairs": len(drawn.queries)}
    return _System(
        ranking,
        Retrieval()(task, ranking),
        about,
        space.describe(drawn),
        space.histogram(queries, documents, _relevant(task, best=False), seed),
    )


def _lexical(task: Task, name: str) -> _System:
    peer = Bm25(task.documents, **BASELINES[name])
    ranking = peer.rank(task.queries.read(0, len(task.queries)), DEPTH)
    return _System(ranking, Retrieval()(task, ranking), {"name": name, **peer.settings})


def _fused(own: _System, peer: _System, task: Task) -> _System:
    ranking = reciprocal_rank_fusion([own.ranking, peer.ranking])
    return _System(ranking, Retrieval()(task, ranking), {})


def _relevant(task: Task, best: bool) -> tuple[Ids, Ids]:
    """Return the pairs of each query and its relevant documents, or those of its best grade alone."""
    pairs = []
    for query, grades in task.relevance.items():
        least = max(grades.values()) if best else 1
        pairs += [(query, row) for row, grade in grades.items() if grade >= least]
    queries, documents = np.array(pairs, np.int64).T
    return queries, documents


def _sizes(whole: Task, task: Task) -> dict[str, Any]:
    return {
        "kind": "retrieval",
        "queries": len(task.queries),
        "queries without a relevant document": len(whole.queries) - len(task.queries),
        "documents": len(task.documents),
        "clusters": len(np.unique(task.clusters)),
        "depth": min(DEPTH, len(task.documents)),
    }


def worst(task: Task, ranking: Ranking, values: Values) -> list[dict[str, Any]]:
    """Return the ten queries with the lowest values (q,), those whose first relevant document is deepest first.

    `rank` is that document's, from 1, or None where it lies beyond the ranking's depth.
    """
    deep = np.array([_first_relevant(task, ranking, query) for query in range(len(values))])
    order = np.lexsort((-deep, values))[:_SHOWN]
    rows = []
    for query in order.tolist():
        grades = task.relevance[query]
        best = sorted((row for row, grade in grades.items() if grade > 0), key=lambda row: (-grades[row], row))[:2]
        found = [
            (int(row), score) for row, score in zip(ranking.rows[query, :3], ranking.scores[query, :3]) if row >= 0
        ]
        texts = _texts(task.documents, best + [row for row, _ in found])
        rows.append(
            {
                "query": _texts(task.queries, [query])[0],
                "value": float(values[query]),
                "rank": int(deep[query]) if np.isfinite(deep[query]) else None,
                "expected": texts[: len(best)],
                "found": [
                    {"text": text, "score": float(score), "relevant": grades.get(row, 0) > 0}
                    for text, (row, score) in zip(texts[len(best) :], found)
                ],
            }
        )
    return rows


def _first_relevant(task: Task, ranking: Ranking, query: int) -> float:
    relevant = [row for row, grade in task.relevance[query].items() if grade > 0]
    places = np.flatnonzero(np.isin(ranking.rows[query], relevant))
    return float(places[0] + 1) if len(places) else np.inf


def _texts(column: Column, rows: list[int]) -> list[str]:
    texts = [str(cell) for cell in take(column, np.array(rows, np.int64))]
    return [text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…" for text in texts]
