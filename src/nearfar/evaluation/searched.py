"""A search judged on a model's task: beside BM25 and all else there, and beside the model's vectors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from nearfar.contracts import Metric, Predictions
from nearfar.errors import InputError
from nearfar.evaluation.measure import MODEL, Measured, compare, measure
from nearfar.evaluation.report import Report
from nearfar.evaluation.row_values import row_values
from nearfar.evaluation.samples import sample_searches
from nearfar.evaluation.worst import worst_queries, wrong_queries
from nearfar.figures import SEARCH, SYSTEM, VECTORS, WRONG_FIRST
from nearfar.tasks import Retrieval, Task


class Searching(Protocol):
    """What searches with a model. takes: the types of tasks that it can be judged on."""

    takes: ClassVar[tuple[type, ...]]

    def __call__(self, task: Any, seed: int, /) -> Predictions:
        """Return its ranking of a task's documents; `about` names its settings."""
        ...


def searched(
    search: Searching,
    task: Task,
    systems: Mapping[str, Measured],
    metrics: Sequence[Metric],
    of_model: Report,
    *,
    resamples: int,
    seed: int,
) -> Report:
    """Return the report of a search: its metrics, beside those systems that have them.

    systems: what the model, called `MODEL`, and its baselines come to; the model is a baseline here, its vectors alone.
    of_model: the model's report on the task, whose protocol holds here, too.
    """
    own = measure(task, search(task, seed), metrics)
    if not isinstance(task, Retrieval) or own.ranking is None:
        raise InputError(f"{task.name}: a search is judged by a ranking of documents, and it gave none")
    others = {VECTORS if name == MODEL else name: one for name, one in systems.items()}
    numbers = {name: {k: v for k, v in one.numbers.items() if k in own.numbers} for name, one in others.items()}
    compared = compare(
        {MODEL: own, **others},
        {("difference", name): (MODEL, name) for name in others},
        task.clusters,
        resamples=resamples,
        seed=seed,
    )
    rankings = {name: one.ranking for name, one in others.items() if one.ranking is not None}
    worst_by, values = next(iter(own.rows.items()))
    about = {
        SYSTEM: SEARCH,
        SEARCH: own.about,
        "baselines": {VECTORS: of_model.protocol.get("model", {}), **of_model.protocol["baselines"]},
        "difference": "search minus baseline; in pairs, row by row",
        "worst": f"lowest {worst_by} first, then deepest first relevant document",
        WRONG_FIRST: len(wrong_queries(task, own.ranking)),
    }
    kept = {name: fact for name, fact in of_model.protocol.items() if name not in ("model", "left out", "fusion")}
    return Report(
        task=task.name,
        metrics=own.numbers,
        intervals=compared.intervals,
        baseline=numbers,
        difference=compared.differences.get("difference", {}),
        protocol={**kept, **about},
        worst=worst_queries(task, own.ranking, values),
        samples=sample_searches(task, own.ranking, rankings, seed),
        rows=row_values(task, own.rows, compared.samples, own.ranking, system=SEARCH, resamples=resamples, seed=seed),
    )
