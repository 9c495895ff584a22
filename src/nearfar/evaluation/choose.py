"""Which metrics and floors judge a task: those that are named, checked, or else the usual ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar import registry
from nearfar.column import kind_of
from nearfar.contracts import Floor, Metric
from nearfar.errors import InputError, nearest
from nearfar.tasks import Task, columns_of, kind_of_task
from nearfar.vectors.embed import Embedder

FLOORS = "evaluation.floors"
Spec = str | Mapping[str, Any] | Metric


def metrics_of(task: Task, given: Sequence[Spec] | None) -> list[Metric]:
    """Return the metrics that a task is judged by: the given ones, or the usual ones of its type.

    given: parts, names, or `{name: ..., setting: value}`. The usual metrics of the embedding space (those that need a
    sample of it) go along with the given ones, unless they are among them with settings of their own.

    Errors: `InputError`: a metric that does not take the task, with those that do; two that share a name of a value.
    """
    usual = [metric for metric in _usual() if isinstance(task, metric.takes)]
    usual.sort(key=lambda metric: metric.needs == ("sample",))  # what describes the space comes last
    if given is None:
        chosen = usual
    else:
        chosen = [_built(spec) for spec in given]
        for metric in chosen:
            if not isinstance(task, metric.takes):
                raise InputError(_not_taken(metric, task.name, [task]))
        kinds = {type(metric) for metric in chosen}
        chosen += [metric for metric in usual if metric.needs == ("sample",) and type(metric) not in kinds]
    _refuse_shared(chosen)
    return chosen


def build_metric(spec: Spec, where: str, *, outside: bool) -> Metric:
    """Return a metric by its name or spec. outside: it may come from outside, as `package.module:Class`."""
    if isinstance(spec, str):
        spec = {"name": spec}
    built = registry.build("metrics", spec, section=where, outside=outside) if isinstance(spec, Mapping) else spec
    if not isinstance(built, Metric):
        raise InputError(
            f"{where}: a {type(built).__name__} is no metric; a metric has `takes`, `needs`, `usual`, `meaning` and a "
            "call with (task, predictions), see nearfar.contracts.Metric"
        )
    return built


def task_for(metric: Metric, tasks: Sequence[Task], where: str) -> Task:
    """Return the first of a split's tasks that a metric takes. Errors: `InputError`: none, with what would do."""
    found = next((task for task in tasks if isinstance(task, metric.takes)), None)
    if found is None:
        raise InputError(_not_taken(metric, where, tasks))
    return found


def _usual() -> list[Metric]:
    parts = {name: registry.find("metrics", name) for name in registry.names("metrics")}
    return [build_metric(name, "metrics", outside=False) for name, part in parts.items() if part.usual]


def _built(spec: Spec) -> Metric:
    return build_metric(spec, "evaluate", outside=False)


def _not_taken(metric: Metric, where: str, tasks: Sequence[Task]) -> str:
    parts = {name: registry.find("metrics", name) for name in registry.names("metrics")}
    able = [name for name, part in parts.items() if any(isinstance(task, part.takes) for task in tasks)]
    takes = " and ".join(map(kind_of_task, metric.takes))
    there = " and ".join(map(kind_of_task, tasks))
    return (
        f"{where}: metric {registry.name_of(type(metric))} takes a task of {takes}, there is one of {there}; metrics "
        f"that would do: {', '.join(able)}"
    )


def _refuse_shared(metrics: Sequence[Metric]) -> None:
    by_value: dict[str, str] = {}
    for metric in metrics:
        part = registry.name_of(type(metric))
        for value in metric.meaning:
            if value in by_value:
                raise InputError(f"evaluate: metrics {by_value[value]} and {part} both give {value!r}; leave one out")
            by_value[value] = part


def floor_names() -> list[str]:
    """Return the names of the floors, as reports have them: with dashes."""
    return [name.replace("_", "-") for name in registry.names(FLOORS)]


def floor(name: str) -> Floor | None:
    """Return a floor by its name, with dashes or underscores; None where no floor is called so."""
    part = name.replace("-", "_")
    return registry.build(FLOORS, {"name": part}) if part in registry.names(FLOORS) else None


def serves(one: Floor, task: Task) -> bool:
    """Return whether a floor serves a task: it takes its type, and reads its cells."""
    return isinstance(task, one.takes) and (not one.reads or _kinds(task) <= set(one.reads))


def floors_of(task: Task) -> dict[str, Floor]:
    """Return the usual floors of a task; where none of them reads its cells, the first that serves it."""
    able = {name: one for name in floor_names() if (one := floor(name)) is not None and serves(one, task)}
    usual = {name: one for name, one in able.items() if isinstance(task, one.usual)}
    return usual or dict(list(able.items())[:1])


def baselines_of(task: Task, given: Sequence[str | Embedder] | None) -> dict[str, Floor | Embedder]:
    """Return what a model is compared with, under distinct names: the given floors and models, or the usual floors.

    Errors: `InputError`: an unknown floor, with the nearest known one; one that cannot serve the task, with those that
    can.
    """
    if given is None:
        return dict(floors_of(task))
    by_name: dict[str, Floor | Embedder] = {}
    for baseline in [given] if isinstance(given, str) else given:
        if isinstance(baseline, str):
            one = floor(baseline)
            if one is None:
                fix = f"{nearest(baseline, floor_names())}; or a model: Model.load(folder)"
                raise InputError(f"evaluate: no baseline is called {baseline!r}; {fix}")
            if not serves(one, task):
                raise InputError(_cannot_serve(baseline, one, task))
            by_name[baseline.replace("_", "-")] = one  # given twice, it counts once
            continue
        stem = name = str(getattr(baseline, "folder", None) or "model")
        taken, number = {"model", *by_name}, 2  # "model" is the one under evaluation
        while name in taken:
            name, number = f"{stem} {number}", number + 1
        by_name[name] = baseline
    return by_name


def _cannot_serve(name: str, one: Floor, task: Task) -> str:
    able = [other for other in floor_names() if (made := floor(other)) is not None and serves(made, task)]
    cells = " and ".join(sorted(_kinds(task)))
    reads = " or ".join(one.reads) or "any cells"
    return (
        f"evaluate: {name} cannot judge {task.name}, a task of {kind_of_task(task)} over {cells}: it serves "
        f"{' and '.join(map(kind_of_task, one.takes))} over {reads}; {', '.join(able) or 'no floor'} can"
    )


def _kinds(task: Task) -> set[str]:
    return {kind_of(column.read(0, 1)[0]) for column in columns_of(task).values() if len(column)}
