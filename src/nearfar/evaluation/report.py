"""The report of an evaluation: metrics with their intervals, the protocol behind them, and examples to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from nearfar.abilities import fingerprint_of
from nearfar.column import Ids, column_kind
from nearfar.evaluation.intervals import CONFIDENCE, Interval, unsayable
from nearfar.evaluation.row_values import RowValues
from nearfar.evaluation.verdict import verdict
from nearfar.figures import SEARCH, SEEN_DOCUMENTS
from nearfar.tasks import Labels, Language, PairLabels, Retrieval, Similarity, Task, between_kinds, kind_of_task
from nearfar.vectors.embed import Embedder

DEPTH = 1_000  # of rankings; MAP counts relevant documents beyond it as never found
Numbers = dict[str, float]
Differences = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Report:
    """The result of `evaluate`.

    task: the task's name. metrics: the model's metrics by name. intervals: the 95 % intervals {"low", "high"} of those
    that are no plain numbers: means over rows, correlations and the like. Below 15 clusters they are NaN, and
    `protocol["intervals"]` says so.
    baseline: metrics by baseline; where training began from a model, that one is the first, "start".
    difference: model minus baseline by baseline and metric, {"value", "low", "high"}.
    fusion: metrics of the model's ranking fused with each baseline's. fusion_difference: fusion minus that baseline,
    and minus the model under "model".
    protocol: sizes, settings and the metrics' meanings: all that is needed to read the numbers and to repeat them.
    histogram: {"edges" (41), "positive" (40), "random" (40)}: counts of the cosines of relevant and of random pairs.
    worst: of retrieval at most ten queries whose first document is not relevant, those with the lowest values of the
    first metric that has one for each query, which `protocol["worst"]` names: {"query", "value", "rank", "expected",
    "found"}. samples: three searches, drawn by the seed: {"query", "rank", "found", "others"}.
    by_class: of labels the values of each class (`evaluation.by_class`).
    projection_map: a sample of the vectors on their first two principal axes (`evaluation.projection_map`).
    sheet: where pictures are searched, some queries beside their nearest neighbours (`evaluation.contact_sheet`).
    pictures: the bytes of the files that the map and the sheet name; they are no part of the JSON.
    rows: the values of each row, for `nearfar compare`; no part of the JSON either.
    search: the report of what searches with the model, where that was judged, too; its baseline "vectors" is the model.
    A number that could not be computed is NaN, in JSON null; `protocol` says why.
    In JSON there is also the verdict, what these numbers allow to say (`verdict.verdict`).
    """

    task: str
    metrics: Numbers
    intervals: dict[str, Interval]
    baseline: dict[str, Numbers] = field(default_factory=dict)
    difference: Differences = field(default_factory=dict)
    fusion: dict[str, Numbers] = field(default_factory=dict)
    fusion_difference: Differences = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    histogram: dict[str, list[Any]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    by_class: dict[str, Any] = field(default_factory=dict)
    projection_map: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    sheet: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    rows: RowValues | None = None
    search: Report | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values that `json.dumps` writes; numbers that are not finite become None."""
        left_out = ("pictures", "rows", "search")
        content = {part.name: _plain(getattr(self, part.name)) for part in fields(self) if part.name not in left_out}
        content[SEARCH] = {} if self.search is None else self.search.to_json()
        return {"task": content.pop("task"), "verdict": verdict(content), **content}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: mappings, lists, numbers, texts and None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)  # notes may hold anything, such as paths


def about_model(model: Embedder, dim: int) -> dict[str, Any]:
    """Return a model's fingerprint, where it has one, and its dimension."""
    return {"fingerprint": fingerprint_of(model), "dim": dim}


def about_task(whole: Task, task: Task, resamples: int, seed: int) -> dict[str, Any]:
    """Return a task's kind and sizes, and how the intervals were computed. whole: with queries that do not count."""
    facts: dict[str, Any] = {"kind": kind_of_task(task)}
    what = "pairs"
    if isinstance(task, Retrieval):
        what, unanswered = "queries", len(whole.clusters) - len(task.clusters)
        facts |= {"queries": len(task.queries), "queries without a relevant document": unanswered}
        facts |= {"documents": len(task.documents)} | (
            {} if task.seen is None else {SEEN_DOCUMENTS: int(task.seen.sum())}
        )
        facts |= _relevant(task)
    elif isinstance(task, Labels):
        what = "cells"
        facts |= {"cells": len(task.cells), "training cells": len(task.train), "classes": len(task.classes)}
    elif isinstance(task, Language):
        what = "texts"
        facts |= {"texts": len(task.cells), "training texts": len(task.train), **_tokens(task)}
    else:
        facts |= {"pairs": len(task.first)}
    if isinstance(task, Similarity):
        facts["null"] = "a correlation where all cosines are equal; its interval where they are in some resample"
        facts["positive pairs"] = "those graded in the top fifth of the scale, for alignment and the histogram"
    if isinstance(task, PairLabels):
        facts |= {"same": int(task.same.sum()), "dev pairs": 0 if task.dev is None else len(task.dev.same)}
        facts["null"] = "an interval where some resample has no pair that is the same"
    clusters, reason = len(np.unique(task.clusters)), unsayable(task.clusters)
    facts |= {"intervals": reason} if reason else {}
    depth = {"depth": min(DEPTH, len(task.documents))} if isinstance(task, Retrieval) else {}
    return {**facts, "clusters": clusters, **depth, "interval": _about_intervals(task.clusters, what, resamples, seed)}


def _tokens(task: Language) -> dict[str, Any]:
    """Return how many tokens there are, and how many of them are hidden."""
    tokens = task.tokens
    if tokens is None:
        return {}
    counts: dict[str, Any] = {"tokens": len(tokens.ids), "training tokens": len(tokens.train_ids)}
    if len(tokens.next_places):
        counts |= {"next tokens": len(tokens.next_places), "bytes": tokens.text_bytes}
        return {**counts, "next": "each token but a text's first, and the end of a text that was not cut"}
    counts["hidden tokens"] = len(tokens.hidden)
    how = "of each text, each by the mask token: no token stays or becomes another, as some do in training"
    return {**counts, "hidden": f"{tokens.share:.0%} {how}"}


def _relevant(task: Retrieval) -> dict[str, Any]:
    """Return how many relevant documents a query has, and queries such a document: captions of a picture, say."""
    pairs = [(query, row) for query, judged in task.relevance.items() for row, grade in judged.items() if grade > 0]
    queries, documents = np.array(pairs, np.int64).T
    counts = {"relevant documents of a query": queries, "queries of a relevant document": documents}
    facts: dict[str, Any] = {}
    for name, rows in counts.items():
        each = np.unique(rows, return_counts=True)[1]
        facts[name] = {"least": int(each.min()), "mean": round(float(each.mean()), 4), "most": int(each.max())}
    if between_kinds(task):
        facts["kinds"] = {"queries": column_kind(task.queries), "documents": column_kind(task.documents)}
    return facts


def _about_intervals(clusters: Ids, what: str, resamples: int, seed: int) -> dict[str, Any]:
    """Return how intervals are computed; `what`: the rows."""
    largest = int(np.unique(clusters, return_counts=True)[1].max())
    return {
        "confidence": CONFIDENCE,
        "method": "paired bootstrap of whole clusters, and of one more that was not seen and is as extreme as may be",
        "resamples": resamples,
        "seed": seed,
        "clusters": f"{what} that the task calls dependent are drawn together; the largest cluster has {largest}",
    }
