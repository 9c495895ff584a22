"""Evaluate models and baselines on a retrieval task: metrics, paired differences, fusions, the worst queries."""

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
_WORST = 10  # queries shown as the worst
_EXPECTED, _RETRIEVED = 2, 3  # relevant and retrieved documents shown for each of them
_LONGEST = 300  # characters of a shown text
Key = tuple[str, str, str]  # field of the report, name of the system, metric


def evaluate_retrieval(
    model: Embedder,
    task: Task,
    baselines: Mapping[str, Embedder | None],
    *,
    fusion: bool,
    resamples: int,
    seed: int,
) -> Report:
    """Return the report; a baseline of None is the variant of BM25 with that name."""
    full_task, task = task, _with_relevant(task)
    system = _dense(model, task, seed)
    peers = {
        name: _lexical(task, name) if baseline is None else _dense(baseline, task, seed)
        for name, baseline in baselines.items()
    }
    fused = {name: _fused(system, peer, task) for name, peer in peers.items()} if fusion else {}
    values = _compared_values(system, peers, fused)
    intervals = mean_intervals(values, task.clusters, resamples=resamples, seed=seed)
    return Report(
        task=task.name,
        metrics=system.numbers,
        intervals={metric: intervals["intervals", "", metric] for metric in system.values},
        baseline={name: peer.numbers for name, peer in peers.items()},
        difference=_nested("difference", values, intervals),
        fusion={name: ranked.numbers for name, ranked in fused.items()},
        fusion_difference=_nested("fusion_difference", values, intervals),
        protocol={
            **_sizes(full_task, task),
            "interval": about_intervals(task.clusters, "queries", resamples, seed),
            "model": system.about,
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
        histogram=system.histogram,
        worst=_worst(task, system.ranking, system.values["mrr@10"]),
    )


@dataclass(frozen=True)
class _System:
    """A model, a baseline or a fusion, with its ranking of the task and the metrics of that ranking."""

    ranking: Ranking
    values: dict[str, Values]  # by metric, (q,) each
    about: dict[str, Any]
    space: dict[str, float] = field(default_factory=dict)
    histogram: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """The means over queries, then the metrics of the embedding space."""
        return {**{name: float(values.mean()) for name, values in self.values.items()}, **self.space}


def _with_relevant(task: Task) -> Task:
    """Return the task with only those queries that have a relevant document."""
    rows = np.array(sorted(q for q, grades in task.relevance.items() if max(grades.values(), default=0) > 0), np.int64)
    if len(rows) == len(task.queries):
        return task
    return replace(
        task,
        queries=ListColumn(task.queries.name, take(task.queries, rows)),
        query_ids=[task.query_ids[row] for row in rows],
        relevance={i: task.relevance[int(row)] for i, row in enumerate(rows)},
        clusters=task.clusters[rows],
    )


def _dense(model: Embedder, task: Task, seed: int) -> _System:
    """Evaluate an embedding model."""
    queries = embed_column(model, task.queries, "query", empty=False)  # (q, d)
    documents = embed_column(model, task.documents, "key", empty=True)  # (m, d)
    ranking = topk(queries, documents, DEPTH)
    sample = space.draw_sample(queries, documents, _relevant_pairs(task, best=True), seed)
    about = about_model(model, queries.shape[1])
    about["space"] = {"vectors": len(sample.vectors), "pairs": len(sample.queries)}
    return _System(
        ranking,
        Retrieval()(task, ranking),
        about,
        space.describe(sample),
        space.histogram(queries, documents, _relevant_pairs(task, best=False), seed),
    )


def _lexical(task: Task, name: str) -> _System:
    """Evaluate a variant of BM25."""
    bm25 = Bm25(task.documents, **BASELINES[name])
    ranking = bm25.rank(task.queries.read(0, len(task.queries)), DEPTH)
    return _System(ranking, Retrieval()(task, ranking), {"name": name, **bm25.settings})


def _fused(system: _System, peer: _System, task: Task) -> _System:
    ranking = reciprocal_rank_fusion([system.ranking, peer.ranking])
    return _System(ranking, Retrieval()(task, ranking), {})


def _relevant_pairs(task: Task, best: bool) -> tuple[Ids, Ids]:
    """Return the pairs (e,), (e,) of each query and its relevant documents, or only those of the query's best grade."""
    pairs = []
    for query, grades in task.relevance.items():
        least = max(grades.values()) if best else 1
        pairs += [(query, row) for row, grade in grades.items() if grade >= least]
    queries, documents = np.array(pairs, np.int64).T
    return queries, documents


def _compared_values(system: _System, peers: Mapping[str, _System], fused: Mapping[str, _System]) -> dict[Key, Values]:
    """Return all values that get an interval, (q,) each, so that one bootstrap resamples them all in the same way."""
    compared = {("difference", name): (system, peer) for name, peer in peers.items()}
    for number, (name, ranked) in enumerate(fused.items()):
        compared["fusion_difference", name] = ranked, peers[name]
        compared["fusion_difference", "model" if number == 0 else f"model, of the fusion with {name}"] = ranked, system
    differences = {
        (*key, metric): one.values[metric] - other.values[metric]
        for key, (one, other) in compared.items()
        for metric in system.values
    }
    return {("intervals", "", metric): values for metric, values in system.values.items()} | differences


def _nested(kind: str, values: Mapping[Key, Values], intervals: Mapping[Key, Interval]) -> Differences:
    """Return one field of the report: by system and metric, the mean of the differences and its interval."""
    nested: Differences = {}
    for key, differences in values.items():
        report_field, name, metric = key
        if report_field == kind:
            nested.setdefault(name, {})[metric] = {"value": float(differences.mean()), **intervals[key]}
    return nested


def _sizes(full_task: Task, task: Task) -> dict[str, Any]:
    return {
        "kind": "retrieval",
        "queries": len(task.queries),
        "queries without a relevant document": len(full_task.queries) - len(task.queries),
        "documents": len(task.documents),
        "clusters": len(np.unique(task.clusters)),
        "depth": min(DEPTH, len(task.documents)),
    }


def _worst(task: Task, ranking: Ranking, values: Values) -> list[dict[str, Any]]:
    """Return the ten queries with the lowest values (q,), those whose first relevant document is deepest first.

    `rank` is that document's, from 1, or None where it lies beyond the ranking's depth.
    """
    ranks = np.array([_first_relevant(task, ranking, query) for query in range(len(values))])
    order = np.lexsort((-ranks, values))[:_WORST]
    return [_shown(task, ranking, query, float(values[query]), ranks[query]) for query in order.tolist()]


def _shown(task: Task, ranking: Ranking, query: int, value: float, rank: float) -> dict[str, Any]:
    """Return one query for a reader: its text, its best relevant documents and the first ones of its ranking."""
    grades = task.relevance[query]
    relevant = sorted((row for row, grade in grades.items() if grade > 0), key=lambda row: (-grades[row], row))
    expected = relevant[:_EXPECTED]
    top = zip(ranking.rows[query, :_RETRIEVED], ranking.scores[query, :_RETRIEVED])
    retrieved = [(int(row), score) for row, score in top if row >= 0]
    texts = _texts(task.documents, expected + [row for row, _ in retrieved])
    return {
        "query": _texts(task.queries, [query])[0],
        "value": value,
        "rank": int(rank) if np.isfinite(rank) else None,
        "expected": texts[: len(expected)],
        "found": [
            {"text": text, "score": float(score), "relevant": grades.get(row, 0) > 0}
            for text, (row, score) in zip(texts[len(expected) :], retrieved)
        ],
    }


def _first_relevant(task: Task, ranking: Ranking, query: int) -> float:
    """Return the rank of the query's first relevant document, from 1; infinity where the ranking has none."""
    relevant = [row for row, grade in task.relevance[query].items() if grade > 0]
    places = np.flatnonzero(np.isin(ranking.rows[query], relevant))
    return float(places[0] + 1) if len(places) else np.inf


def _texts(column: Column, rows: list[int]) -> list[str]:
    texts = [str(cell) for cell in take(column, np.array(rows, np.int64))]
    return [text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…" for text in texts]
