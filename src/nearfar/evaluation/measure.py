"""The metrics of several systems on one task, and their differences, with intervals from the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.contracts import Metric, Predictions, RankedDocuments, Statistic, Values
from nearfar.errors import InputError
from nearfar.evaluation.intervals import (
    Interval,
    StatisticSample,
    mean_intervals,
    sampled_intervals,
    statistic_samples,
)
from nearfar.evaluation.report import Differences
from nearfar.registry import name_of
from nearfar.tasks import Task

MODEL = "model"  # the name of the model's own values
VALUE = "value"  # beside the fields of a report, in the keys of intervals: (VALUE or field, system or title, name)


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
    """The intervals of a model's values; and by field, system and value, the differences with their intervals.

    samples: the model's statistics in the resamples, by name; {} where the clusters allow no interval.
    """

    intervals: dict[str, Interval]
    differences: dict[str, Differences]
    samples: dict[str, StatisticSample] = field(default_factory=dict)


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
    rows = {(VALUE, system, name): array for system, of in systems.items() for name, array in of.rows.items()}
    statistics = {
        (VALUE, system, name): statistic.resampled
        for system, of in systems.items()
        for name, statistic in of.statistics.items()
    }
    gaps = {
        (kind, title, name): ((VALUE, one, name), (VALUE, other, name))
        for (kind, title), (one, other) in pairs.items()
        for name in systems[one].numbers
        if any({(VALUE, one, name), (VALUE, other, name)} <= found.keys() for found in (rows, statistics))
    }
    of_rows = {key: gap for key, gap in gaps.items() if gap[0] in rows}
    of_statistics = {key: gap for key, gap in gaps.items() if key not in of_rows}
    found = mean_intervals(rows, of_rows, clusters, resamples=resamples, seed=seed) if rows else {}
    samples = statistic_samples(statistics, clusters, resamples=resamples, seed=seed)
    if samples:
        found |= sampled_intervals(samples, of_statistics, clusters, resamples=resamples, seed=seed)
    else:
        found |= {key: {"low": float("nan"), "high": float("nan")} for key in (*statistics, *of_statistics)}
    differences: dict[str, Differences] = {}
    for (kind, title), (one, other) in pairs.items():
        names = [name for name in systems[one].numbers if (kind, title, name) in gaps]
        values = {name: systems[one].numbers[name] - systems[other].numbers[name] for name in names}
        gap = {name: {"value": value, **found[kind, title, name]} for name, value in values.items()}
        if gap:
            differences.setdefault(kind, {})[title] = gap
    own = {name: found[VALUE, MODEL, name] for name in systems[MODEL].numbers if (VALUE, MODEL, name) in found}
    kept = {name: sample for (_, system, name), sample in samples.items() if system == MODEL}
    return Compared(own, differences, kept)
