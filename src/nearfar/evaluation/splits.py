"""What a recipe's section `evaluate` asks for: the tasks of its splits, each with its metrics and baselines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nearfar.abilities import labels_of, looked_at_by, tasks_of
from nearfar.column import column_kind, content_ids
from nearfar.contracts import Metric, Positives
from nearfar.errors import InputError, nearest
from nearfar.evaluation.baselines import (
    Baseline,
    Start,
    baselines_of,
    cannot_serve,
    chosen_baselines,
    floors_serving,
    has_untrained_floor,
)
from nearfar.evaluation.choose import build_metric, metrics_of, task_for
from nearfar.evaluation.direction import key_to_query
from nearfar.evaluation.evaluate import evaluate, judged_start
from nearfar.evaluation.intervals import LEAST_CLUSTERS
from nearfar.evaluation.predictions import as_judged
from nearfar.evaluation.report import Report
from nearfar.evaluation.searched import Searching
from nearfar.figures import NO_CLASSES
from nearfar.tasks import Labels, Language, Retrieval, Task, kind_of_task
from nearfar.vectors.embed import Embedder

QUERY_TO_KEY, KEY_TO_QUERY = "query-to-key", "key-to-query"
OF_ENTRIES = ("split", "direction")  # of an entry of `evaluate`, beside the metric's settings


@dataclass
class Judgement:
    """One task of a split, with the metrics that the recipe names for it.

    name: of its report: that of the split, or for a second task of it also the task's kind, "heldout labels"; in the
    other direction "heldout key-to-query".
    baselines: floors by name, and models; None for the usual ones. left_out: what the recipe names and pictures without
    classes cannot be judged by.
    """

    name: str
    split: str
    task: Task
    metrics: list[Metric]
    baselines: Sequence[str | Embedder] | None = None
    left_out: list[str] = field(default_factory=list)

    def has_start(self, name: str | None) -> bool:
        """Return whether a model is judged before training; name: of what it began from, None for random weights."""
        return name is not None or has_untrained_floor(self.task)

    def refuse_baselines(self, model: Embedder) -> None:
        """Refuse baselines that do not serve the task as a model is judged on it: before training, not after."""
        if isinstance(self.task, Language) and self.baselines:  # only the model's tokens tell
            baselines_of(as_judged(model, self.task, 0), self.baselines)

    def start(self, model: Embedder, name: str | None) -> Start:
        """Return what a model makes of the task before it is trained; name: as above."""
        return judged_start(model, self.task, self.metrics, name=name)

    def report(
        self,
        model: Embedder,
        start: Start | None = None,
        training: Mapping[str, Any] | None = None,
        search: Searching | None = None,
    ) -> Report:
        """Return the report on a model, beside what it was before, and on what searches with it.

        training: facts of it for the protocol.
        """
        report = evaluate(model, self.task, self.metrics, baselines=self.baselines, start=start, search=search)
        facts: dict[str, Any] = {"training": dict(training)} if training else {}
        if self.left_out:
            facts[NO_CLASSES] = f"left out, as the pictures have no classes: {', '.join(self.left_out)}"
        return replace(report, protocol={**report.protocol, **facts})

    def numbers(self, model: Embedder) -> dict[str, float]:
        """Return the metrics of a model alone, as while it trains."""
        return evaluate(model, self.task, self.metrics, baselines=[], resamples=2, look=False).metrics


def judgements(
    entries: Sequence[Mapping[str, Any]], positives: Positives, baselines: Baseline | Sequence[Baseline] | None
) -> list[Judgement]:
    """Return the tasks that a recipe is judged on, in the order of its entries {"name", "split", setting: value}.

    Each metric gets the first of its split's tasks that it takes; with "direction": "key-to-query" that of retrieval in
    the other direction, where documents look for queries: pictures by texts and texts by pictures are two reports. A
    floor that is named is used for the tasks that it serves; a task that none of the named ones serves has its usual
    floors.

    Pictures without classes are judged by finding each by another view of it, where the recipe names metrics of classes
    alone; those are left out, by name.

    Errors: `InputError`: a metric for which the split has no task, with those that would do; an unknown direction, or
    one of a task that is no retrieval; a floor that is unknown or serves no task; those of the metrics' constructors.
    """
    splits: dict[str, Sequence[Task]] = {}
    reverse: dict[str, Sequence[Task]] = {}
    found: dict[str, Judgement] = {}
    left_out: dict[str, list[str]] = {}
    for i, entry in enumerate(entries):
        where, split, direction = f"evaluate.{i}", str(entry["split"]), str(entry.get("direction", QUERY_TO_KEY))
        metric = build_metric({k: v for k, v in entry.items() if k not in OF_ENTRIES}, where, outside=True)
        tasks = splits.setdefault(split, tasks_of(positives, split))
        first_name = split
        if direction != QUERY_TO_KEY:
            first_name = f"{split} {direction}"
            if first_name not in reverse:
                reverse[first_name] = _reversed(tasks, direction, where)
            tasks = reverse[first_name]
        fits = direction != QUERY_TO_KEY or any(isinstance(task, metric.takes) for task in tasks)
        if not fits and Labels in metric.takes and _lacks_classes(positives):
            left_out.setdefault(split, []).append(next(iter(metric.meaning)))
            continue
        task = task_for(metric, tasks, f"{where}: split {split!r}")
        if isinstance(task, Labels) and "train" in looked_at_by(metric, task):
            _refuse_own_neighbours(task, where)
        mine = (one for one in found.values() if one.task is task)
        judgement = next(mine, None)
        if judgement is None:
            name = first_name if first_name not in found else f"{first_name} {kind_of_task(task)}"
            while name in found:  # another split may be called so
                name += "'"
            judgement = found[name] = Judgement(name, split, task, [])
        judgement.metrics.append(metric)
    for split, names in left_out.items():
        if split not in found:
            found[split] = Judgement(split, split, splits[split][0], metrics_of(splits[split][0], None))
        found[split].left_out = names
    serving = _serving(chosen_baselines(baselines), [one.task for one in found.values()])
    for judgement, own in zip(found.values(), serving, strict=True):
        judgement.baselines = own
        _warn_of_few_documents(judgement.task)
        metrics_of(judgement.task, judgement.metrics)  # two with a value of one name are an error before training
    return list(found.values())


def _warn_of_few_documents(task: Task) -> None:
    """Warn, before anything is trained, of many passages that are of few documents: nothing could be said of them."""
    if not isinstance(task, Language):
        return
    documents = len(np.unique(task.clusters))
    if documents < LEAST_CLUSTERS <= len(task.cells):
        many = "documents" if documents > 1 else "document"
        warnings.warn(
            f"split {task.name!r}: its {len(task.cells):,} passages are of {documents} {many}, and intervals need "
            f"{LEAST_CLUSTERS}; hold more out, e.g. data.heldout={LEAST_CLUSTERS + 5}",
            stacklevel=2,
        )


def _reversed(tasks: Sequence[Task], direction: str, where: str) -> list[Task]:
    """Return a split's tasks of retrieval in the other direction."""
    if direction != KEY_TO_QUERY:
        raise InputError(f"{where}.direction: {direction!r:.40}: {nearest(direction, (QUERY_TO_KEY, KEY_TO_QUERY))}")
    found: list[Task] = [key_to_query(task) for task in tasks if isinstance(task, Retrieval)]
    if not found:
        kinds = " and ".join(map(kind_of_task, tasks))
        raise InputError(f"{where}.direction: a task of {kinds} has one direction; leave it out")
    return found


def _refuse_own_neighbours(task: Labels, where: str) -> None:
    """Refuse cells whose classes are told from themselves: each is its own nearest neighbour, whatever the model."""
    if len(task.cells) == len(task.train) and np.array_equal(content_ids(task.cells), content_ids(task.train)):
        raise InputError(
            f"{where}: the classes of split {task.name!r} are told from that split itself, where each cell is its own "
            "nearest neighbour; judge by another split, or hold some out: data.heldout=0.2, split: heldout"
        )


def _lacks_classes(positives: Positives) -> bool:
    labelled = labels_of(positives)
    return labelled is not None and labelled.classes is None and column_kind(labelled.cells) == "image"


def _serving(baselines: list[str | Embedder] | None, tasks: Sequence[Task]) -> list[list[str | Embedder] | None]:
    """Return for each task those of the baselines that serve it; None, for the usual ones, where only others do."""
    if not baselines or not tasks:
        return [baselines for _ in tasks]
    able = [floors_serving(task) for task in tasks]
    for one in baselines:
        if isinstance(one, str) and not any(one in floors for floors in able):
            raise InputError(cannot_serve(one, tasks[0], able[0]))
    return [[one for one in baselines if not isinstance(one, str) or one in floors] or None for floors in able]
