"""The metrics of several systems on one task, and their differences, with intervals from the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.contracts import Metric, Predictions, RankedDocuments, Statistic, Values
from nearfar.errors import InputError
from nearfar.evaluation.intervals import Interval, mean_intervals, statistic_intervals
from nearfar.evaluation.report import Differences
from nearfar.registry import name_of
from nearfar.tasks import Task

Key = tuple[str, str, str]  # field of the report, name of the compared systems, value
MODEL = "model"  # the name of the model's own values


@dataclass
class Measured:
    """The values of one system: means over the task's rows, statistics, and plain numbers, each by name."""

    numbers: dict[str, float] = field(default_factory=dict)  # of all three, in the order of the metrics
    rows: dict[str, Values] = field(default_factory=dict)  # (n,) each
    statistics: dict[str, Statistic] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    ranking: RankedDocuments | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def measure(task: Task, predictions: Predictions, metrics: Sequence[Metric]) -> Measured:
    """Return the values of a system by all metrics that find in it what they need.

    Errors: `InputError`: values that a metric does not explain, or an array that is not (n,); those of the metrics.
    """
    found = Measured(ranking=predictions.ranking, about=predictions.about)
    parts, n = predictions.parts(), len(task.clusters)
    for metric in metrics:
        values = metric(task, predictions) if parts.intersection(metric.needs) else {}
        unknown = set(values) - set(metric.meaning)
        if unknown:
            name = name_of(type(metric))
            raise InputError(
                f"metric {name}: returns {min(unknown)!r}, which is not in its `meaning`; explain it there"
            )
        for name, value in values.items():
            if isinstance(value, Statistic):
                found.statistics[name], found.numbers[name] = value, float(value.value)
            elif np.ndim(value) == 0:
                found.numbers[name] = float(value)
            else:
                found.rows[name] = _of_rows(name, np.asarray(value, np.float64), n)
                found.numbers[name] = float(found.rows[name].mean())
        found.left_out += [name for name in metric.meaning if name not in values]
    return found


def _of_rows(name: str, values: Values, n: int) -> Values:
    if values.shape != (n,):
        raise InputError(
            f"metric {name}: gives {values.shape} values for the task's {n} rows; give ({n},), or a number"
        )
    return values


@dataclass(frozen=True)
class Compared:
    """The intervals of a model's values; and by field, system and value, the differences with their intervals."""

    intervals: dict[str, Interval]
    differences: dict[str, Differences]


def compare(
    systems: Mapping[str, Measured],
    pairs: Mapping[tuple[str, str], tuple[str, str]],
    clusters: Ids,
    *,
    resamples: int,
    seed: int,
) -> Compared:
    """Return the intervals of the system called `MODEL`, and of differences of systems.

    pairs: by field and name of the report, the names of the two systems whose difference it is. A difference is of the
    values that both have, plain numbers left out; all come from the same resamples, which keeps them paired.
    """
    settings = {"resamples": resamples, "seed": seed}
    model = systems[MODEL]
    both = {key: (systems[one], systems[other]) for key, (one, other) in pairs.items()}
    rows: dict[Key, Values] = {("intervals", "", name): values for name, values in model.rows.items()}
    for (kind, title), (first, second) in both.items():
        shared = [name for name in first.rows if name in second.rows]
        rows |= {(kind, title, name): first.rows[name] - second.rows[name] for name in shared}
    intervals = mean_intervals(rows, clusters, **settings) if rows else {}
    values = {key: float(of_rows.mean()) for key, of_rows in rows.items()}

    statistics = {
        ("value", system, name): statistic.resampled
        for system, measured in systems.items()
        for name, statistic in measured.statistics.items()
    }
    gaps: dict[Key, tuple[Key, Key]] = {}
    for (kind, title), (one, other) in pairs.items():
        first, second = systems[one], systems[other]
        for name in (name for name in first.statistics if name in second.statistics):
            gaps[kind, title, name] = ("value", one, name), ("value", other, name)
            values[kind, title, name] = first.numbers[name] - second.numbers[name]
    found = statistic_intervals(statistics, gaps, clusters, **settings) if statistics else {}
    own = {name: found["value", MODEL, name] for name in model.statistics}
    own |= {name: intervals["intervals", "", name] for name in model.rows}
    return Compared(
        {name: own[name] for name in model.numbers if name in own}, _nested(values, intervals | found, model)
    )


def _nested(values: Mapping[Key, float], intervals: Mapping[Key, Interval], model: Measured) -> dict[str, Differences]:
    """Return the differences by field, system and value, in the order of the model's values."""
    order = list(model.numbers)
    nested: dict[str, Differences] = {}
    for kind, title, name in sorted(values, key=lambda key: order.index(key[2]) if key[2] in order else len(order)):
        if kind != "intervals":
            of_system = nested.setdefault(kind, {}).setdefault(title, {})
            of_system[name] = {"value": values[kind, title, name], **intervals[kind, title, name]}
    return nested
