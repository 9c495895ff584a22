"""Which metrics judge a task: those that are named, checked, or else the usual ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from nearfar import registry
from nearfar.abilities import LooksAt, is_usual_for, looked_at_by
from nearfar.contracts import Metric
from nearfar.errors import InputError
from nearfar.requirements import refuse_incomplete
from nearfar.tasks import Language, Task, columns_of, kind_of_task

Spec = str | Mapping[str, Any] | Metric


def metrics_of(task: Task, given: Spec | Sequence[Spec] | None) -> list[Metric]:
    """Return the metrics that a task is judged by: the given ones, or the usual ones of its type.

    given: parts, names, or `{name: ..., setting: value}`; one of these is a list of one. The usual metrics of the
    embedding space (those that need a sample of it) go along with the given ones, unless they are among them with
    settings of their own.

    Errors: `InputError`: a metric that does not take the task, with those that do; two that share a name of a value.
    """
    usual = [metric for metric in _usual() if isinstance(task, metric.takes) and is_usual_for(metric, task)]
    usual.sort(key=lambda metric: metric.needs == ("sample",))  # what describes the space comes last
    if given is None:
        chosen = usual
    else:
        specs = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        chosen = [build_metric(spec, "evaluate", outside=False) for spec in specs]
        for metric in chosen:
            if not isinstance(task, metric.takes):
                raise InputError(_not_taken(metric, task.name, [task]))
        kinds = {type(metric) for metric in chosen}
        chosen += [metric for metric in usual if metric.needs == ("sample",) and type(metric) not in kinds]
    _refuse_shared(chosen)
    return chosen


def columns_looked_at(task: Task, metrics: Sequence[Metric]) -> list[str]:
    """Return the names of the columns that metrics look at, in the task's order: no others are embedded.

    What describes the space is computed on what is there; it asks for columns only where it is alone.
    """
    judging = [metric for metric in metrics if metric.needs != ("sample",)] or metrics
    names = {name for metric in judging for name in looked_at_by(metric, task)}
    return [name for name in columns_of(task) if name in names]


def look_at_no_training(specs: Sequence[Spec]) -> bool:
    """Return whether metrics are given, and none of them looks at training cells. Errors: those of `build_metric`."""
    metrics = [build_metric(spec, "evaluate", outside=False) for spec in specs]
    return bool(metrics) and all(isinstance(one, LooksAt) and "train" not in one.looks_at for one in metrics)


def build_metric(spec: Spec, where: str, *, outside: bool) -> Metric:
    """Return a metric by its name or spec, or as it is. outside: it may come from outside, as `package.module:Class`.

    Errors: `InputError`: what has not all that a metric must have; a class where its object is wanted.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Mapping):
        built: Metric = registry.build("metrics", spec, section=where, outside=outside)
        return built
    if inspect.isclass(spec):
        raise InputError(f"{where}: {spec.__name__} is a class; give an object of it: {spec.__name__}(...)")
    refuse_incomplete("metrics", spec)
    return spec


def task_for(metric: Metric, tasks: Sequence[Task], where: str) -> Task:
    """Return the first of a split's tasks that a metric takes. Errors: `InputError`: none, with what would do."""
    found = next((task for task in tasks if isinstance(task, metric.takes)), None)
    if found is None:
        raise InputError(_not_taken(metric, where, tasks))
    return found


def _usual() -> list[Metric]:
    parts = {name: registry.find("metrics", name) for name in registry.names("metrics")}
    return [build_metric(name, "metrics", outside=False) for name, part in parts.items() if part.usual]


def _not_taken(metric: Metric, where: str, tasks: Sequence[Task]) -> str:
    parts = {name: registry.find("metrics", name) for name in registry.names("metrics")}
    able = [name for name, part in parts.items() if any(isinstance(task, part.takes) for task in tasks)]
    takes = " and ".join(map(kind_of_task, metric.takes))
    there = " and ".join(map(kind_of_task, tasks))
    unpaired = ", or texts without pairs (in a recipe positives.name=unpaired)" if Language in metric.takes else ""
    return (
        f"{where}: metric {registry.name_of(type(metric))} takes a task of {takes}, there is one of {there}; metrics "
        f"that would do: {', '.join(able)}{unpaired}"
    )


def _refuse_shared(metrics: Sequence[Metric]) -> None:
    by_value: dict[str, str] = {}
    for metric in metrics:
        part = registry.name_of(type(metric))
        for value in metric.meaning:
            if value in by_value:
                raise InputError(f"evaluate: metrics {by_value[value]} and {part} both give {value!r}; leave one out")
            by_value[value] = part
