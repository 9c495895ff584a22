"""A comparison of runs: each against the first, on every task that both were judged on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nearfar.errors import InputError
from nearfar.evaluation.measure import MODEL
from nearfar.evaluation.paired import RowDifferences, paired_differences, row_differences
from nearfar.evaluation.row_values import RowValues
from nearfar.evaluation.verdict import GEOMETRY, in_order
from nearfar.figures import (
    SIZES,
    difference,
    distance,
    finite,
    label_of,
    mapping,
    number,
    outcome,
    pair_of,
    sizes,
    title,
)
from nearfar.reports.comparison_curves import learning_curves
from nearfar.reports.run_record import RunRecord, TaskKey

MOST = 10  # rows that are shown as wins, and as losses
_SAME = 1e-9  # of two values of one baseline


def comparison(runs: Sequence[RunRecord], most: int = MOST) -> dict[str, Any]:
    """Return how runs differ from the first: the JSON of `nearfar compare`.

    most: wins and losses that are listed of each run on each task.

    Returns a mapping: runs: {"name", "folder"} of each. tasks: for each that the first run and another were judged on
    {"task", "kind", "system", "sizes", "sentences", "metrics", "intervals", "difference", "baseline", "rows", "notes"}:
    metrics and intervals by run; difference, another run minus the first, by run and metric, {"value", "low", "high"},
    the bounds None where there is no interval; baseline: values of what every run was compared with; rows, by run: how
    many rows went better and worse by one metric, with those that differ most. settings: {"setting", "values"} of each
    setting of the recipes that is not the same in all. curves: those of `learning_curves`. intervals: how many of
    differences there are. notes: what to know of the whole.

    Errors: `InputError`: fewer than two runs; a run without a task in common with the first; one whose task is called
    as the first's and has other rows, by the part of the task that differs.
    """
    if len(runs) < 2:
        raise InputError("compare: one run alone; name two or more: nearfar compare runs/a runs/b")
    first, *others = runs
    for other in others:
        _refuse_other_tasks(first, other)
    tasks = [_task(key, first, [one for one in others if key in one.reports], most) for key in first.reports]
    tasks = [task for task in tasks if task["difference"]]
    settings = settings_that_differ(runs)
    gaps = [gap for task in tasks for of_run in task["difference"].values() for gap in of_run.values()]
    looked_at = sum(pair_of(gap) is not None for gap in gaps)
    return {
        "runs": [{"name": one.name, "folder": str(one.folder)} for one in runs],
        "tasks": tasks,
        "settings": settings,
        "curves": learning_curves(runs, [one["setting"] for one in settings]),
        "intervals": looked_at,
        "notes": [*_multiple(looked_at), *_tasks_of_some(runs)],
    }


def settings_that_differ(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the settings of the recipes that are not the same in all runs: {"setting", "values"}, values by run.

    A run that does not have a setting is not among its values.
    """
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    found = [(path, {run.name: run.settings[path] for run in runs if path in run.settings}) for path in paths]
    return [
        {"setting": path, "values": values}
        for path, values in found
        if len(values) < len(runs) or len({repr(value) for value in values.values()}) > 1
    ]


def label(key: TaskKey) -> str:
    """Return what a task is called where others of its name may stand beside it."""
    task, kind, system = key
    return task + (f", {kind}" if kind and kind != "retrieval" else "") + (f", {system}" if system != MODEL else "")


def _refuse_other_tasks(first: RunRecord, other: RunRecord) -> None:
    """Refuse a run that has no task in common with the first, or a task of the same name that is another one."""
    common = [key for key in first.reports if key in other.reports]
    if not common:
        names = ["; ".join(map(label, run.reports)) for run in (other, first)]
        raise InputError(
            f"{other.folder}: judged on {names[0][:200]}, and {first.folder} on {names[1][:200]}; compare runs that "
            "were judged on the same task and split"
        )
    for key in common:
        one, two = first.rows.get(key), other.rows.get(key)
        if one and two:
            differ = [name for name in {**one.parts, **two.parts} if one.parts.get(name) != two.parts.get(name)]
            if not differ and len(one.clusters) != len(two.clusters):
                differ = ["rows"]
        else:  # a run that kept no rows has the sizes of its task alone
            protocols = [mapping(run.reports[key].get("protocol")) for run in (first, other)]
            differ = [name for name in (*SIZES, "clusters") if protocols[0].get(name) != protocols[1].get(name)]
        if differ:
            counts = [sizes(mapping(run.reports[key].get("protocol"))) for run in (other, first)]
            raise InputError(
                f"{other.folder}: on {label(key)[:200]} its {', '.join(differ)} differ from those of {first.folder} "
                f"({counts[0]}; {counts[1]}); compare runs that were judged on the same data and split"
            )


def _task(key: TaskKey, first: RunRecord, others: Sequence[RunRecord], most: int) -> dict[str, Any]:
    """Return the comparison on one task of the runs that were judged on it."""
    runs = (first, *others)
    reports = {run.name: run.reports[key] for run in runs}
    metrics = _metrics(reports.values())
    values = {name: {one: finite(report["metrics"].get(one)) for one in metrics} for name, report in reports.items()}
    gaps = {other.name: _differences(key, first, other, metrics) for other in others}
    baseline, left_out = _baselines(reports)
    rows = {one.name: found for one in others if (found := _rows(key, first, one, metrics, most)) is not None}
    protocol = mapping(reports[first.name].get("protocol"))
    return {
        "task": key[0],
        "kind": key[1],
        "system": key[2],
        "label": label(key),
        "sizes": sizes(protocol),
        "sentences": [_sentence(metrics, first.name, name, values, gap) for name, gap in gaps.items()],
        "metrics": values,
        "intervals": {name: _intervals(report, metrics) for name, report in reports.items()},
        "difference": gaps,
        "baseline": {name: {one: finite(of.get(one)) for one in metrics} for name, of in baseline.items()},
        "labels": {name: label_of(name, protocol) for name in baseline},
        "rows": rows,
        "notes": [*_notes(key, runs, gaps, rows, protocol), *left_out],
    }


def _metrics(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the metrics of several reports: those that judge a model first, then those that describe the space."""
    names = dict.fromkeys(name for report in reports for name in report["metrics"])
    return [*in_order(names), *(name for name in GEOMETRY if name in names)]


def _intervals(report: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    known = {name: pair_of(mapping(report.get("intervals")).get(name)) for name in metrics}
    return {name: {"low": pair[0], "high": pair[1]} for name, pair in known.items() if pair is not None}


def _differences(key: TaskKey, first: RunRecord, other: RunRecord, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a run minus the first by metric that both have; without bounds where there is no paired interval."""
    mine, theirs = first.rows.get(key), other.rows.get(key)
    paired = paired_differences(mine, theirs) if mine and theirs else {}
    found: dict[str, dict[str, Any]] = {}
    for name in metrics:
        one, two = (finite(run.reports[key]["metrics"].get(name)) for run in (first, other))
        gap = paired.get(name, {})
        value = finite(gap.get("value"))
        if value is None and one is not None and two is not None:
            value = two - one
        if value is not None:
            found[name] = {"value": value, "low": finite(gap.get("low")), "high": finite(gap.get("high"))}
    return found


def _baselines(reports: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the baselines that are the same in all runs that have them, and a line on the others."""
    names = dict.fromkeys(name for report in reports.values() for name in mapping(report.get("baseline")))
    same: dict[str, Mapping[str, Any]] = {}
    differ = []
    for name in names:
        found = [
            mapping(report["baseline"][name]) for report in reports.values() if name in mapping(report.get("baseline"))
        ]
        if all(_alike(found[0], one) for one in found):
            same[name] = max(found, key=len)
        else:
            differ.append(name)
    line = f"not in the table, as other models in each run: {', '.join(differ)}"
    return same, [line] if differ else []


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    pairs = [(finite(one[name]), finite(other[name])) for name in one if name in other]
    return all(a is None or b is None or abs(a - b) <= _SAME for a, b in pairs)


def _sentence(
    metrics: Sequence[str],
    first: str,
    name: str,
    values: Mapping[str, Mapping[str, float | None]],
    gaps: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what can be said of a run beside the first, by the first metric that both have."""
    metric = next((one for one in in_order(metrics) if one in gaps), None)
    if metric is None:
        return {"run": name, "metric": None, "outcome": "unknown", "text": f"{name} and {first} share no metric."}
    gap, value = gaps[metric], values[name][metric]
    found, figure = outcome(gap), f"{title(metric)} {number(value)}"
    text = {
        "better": f"{name} is better than {first}: {figure}, {distance(gap)} above it.",
        "worse": f"{name} is worse than {first}: {figure}, {distance(gap)} below it.",
        "undecided": f"{name} cannot be told from {first}: {figure}, a difference of {difference(gap)}.",
        "unknown": f"Nothing can be said of {name} beside {first}: {figure} and {number(values[first][metric])}, "
        "without an interval of the difference.",
    }[found]
    return {"run": name, "metric": metric, "outcome": found, "text": text}


def _rows(key: TaskKey, first: RunRecord, other: RunRecord, metrics: Sequence[str], most: int) -> dict[str, Any] | None:
    """Return the rows that went better and worse by the first metric that has a value of each row; None without."""
    one, two = first.rows.get(key), other.rows.get(key)
    if one is None or two is None:
        return None
    metric = next((name for name in metrics if name in one.values and name in two.values), None)
    if metric is None:
        return None
    found = row_differences(one, two, metric)
    wins = found.order[: min(most, found.better)].tolist()
    losses = found.order[::-1][: min(most, found.worse)].tolist()
    both = {first.name: one, other.name: two}
    return {
        "metric": metric,
        "better": found.better,
        "worse": found.worse,
        "equal": found.equal,
        "wins": [_row(row, both, metric, found) for row in wins],
        "losses": [_row(row, both, metric, found) for row in losses],
    }


def _row(row: int, both: Mapping[str, RowValues], metric: str, found: RowDifferences) -> dict[str, Any]:
    """Return one row for a reader: its text, and of each run its value and what it ranked."""
    about = next(iter(both.values()))
    shown = about.rows[row]
    facts: dict[str, Any] = {"row": row, "text": shown.get("text", ""), "difference": float(found.values[row])}
    facts |= {name: shown[name] for name in ("id", "label") if name in shown}
    facts["values"] = {name: finite(of.values[metric][row].item()) for name, of in both.items()}
    if "expected" in shown:
        facts["expected"] = [about.documents[place] for place in shown["expected"]]
        facts["rank"] = {name: of.rows[row].get("rank") for name, of in both.items()}
        facts["found"] = {name: _found(of, row) for name, of in both.items()}
    return facts


def _found(of: RowValues, row: int) -> list[dict[str, Any]]:
    shown = of.rows[row]
    pairs = zip(shown.get("found", []), shown.get("relevant", []), strict=True)
    return [{"text": of.documents[place], "relevant": relevant} for place, relevant in pairs]


def _notes(
    key: TaskKey,
    runs: Sequence[RunRecord],
    gaps: Mapping[str, Mapping[str, Mapping[str, Any]]],
    rows: Mapping[str, Any],
    protocol: Mapping[str, Any],
) -> list[str]:
    """Return why differences have no interval, and rows no wins and losses."""
    notes = []
    old = [run.name for run in runs if key not in run.rows]
    if old:
        which = f"{' and '.join(old)} {'keeps' if len(old) == 1 else 'keep'}"
        notes.append(
            f"{which} no values of single rows (rows.json), as of an earlier release: values alone, not paired"
        )
    if isinstance(why := protocol.get("intervals"), str):
        notes.append(f"no intervals: {why}")
    elif len(old) < len(runs):
        paired = [of_run for name, of_run in gaps.items() if name not in old and runs[0].name not in old]
        bare = dict.fromkeys(name for of_run in paired for name, gap in of_run.items() if pair_of(gap) is None)
        if bare:
            notes.append(f"without a paired interval, as one number of the whole: {', '.join(map(title, bare))}")
    if not old and not rows:
        notes.append("no metric has a value of each row, so there are no wins and losses")
    return notes


def _multiple(looked_at: int) -> list[str]:
    """Return how many intervals were looked at, in a line, and what that means for those that exclude zero."""
    if looked_at < 2:
        return []
    return [
        f"{looked_at} intervals of differences were looked at, each of 95 % on its own: where nothing differs, about "
        f"{0.05 * looked_at:.1f} of so many exclude zero by chance"
    ]


def _tasks_of_some(runs: Sequence[RunRecord]) -> list[str]:
    """Return a line on each task that is not compared in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.reports)
    lacking = {key: [run.name for run in runs if key not in run.reports] for key in keys}
    return [f"{' and '.join(names)}: not judged on {label(key)}" for key, names in lacking.items() if names]
