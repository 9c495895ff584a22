"""The page of a run: its metrics with their intervals, and the course of training, in one file that loads nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from nearfar.errors import InputError
from nearfar.reports.charts import Point
from nearfar.reports.page import finite_number, template
from nearfar.storage import folders

# The order of the table. The first metric that was measured carries the verdict, so that none is picked for its result.
# Metrics that are not named here follow in the order of the results.
_QUALITY = ("mrr@10", "ndcg@10", "map", "recall@1", "recall@10", "recall@100", "spearman", "pearson")
_GEOMETRY = ("alignment", "uniformity", "effective_rank", "random_cosine")


def page(results: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Return the HTML page of a run.

    Every text is untrusted: it is escaped, and cut where it is very long.

    Args:
        results: the content of `results.json` (the shape of `evaluate`; further splits have that shape again, under
            their names), all of it optional; "recipe" (its text or the mapping) and "run" (a name or a folder) are
            shown too. A number that is null or not finite shows as a dash.
        events: the lines of `events.jsonl`, in the order written; of a repeated step the later line counts.
    """
    recipe = results.get("recipe") or ""
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    # Only the rows of installed packages are modules and functions; anything else is data and answers.
    packages = "unseen" in results or "name: python_packages" in text
    sections = [_section(results, str(results.get("task") or ""))]
    splits = {key: value for key, value in results.items() if key != "protocol" and "metrics" in _mapping(value)}
    sections += [_section(split_results, split) for split, split_results in splits.items()]
    log = _log(events)
    log["warnings"] = log["warnings"] or [(None, message) for message in results.get("warnings") or []]
    run = {"name": Path(str(results.get("run") or "")).name, "recipe": text, "packages": packages}
    run |= {key: finite_number(results.get(key)) for key in ("pairs", "train_pairs_per_second", "seconds")}
    return template("page.html.j2").render(run=run, sections=sections, log=log)


def write_page(folder: Path) -> Path:
    """Write `report.html` into a run's folder from its results, recipe and events, and return its path.

    Errors: `InputError`: a folder with none of the three, or whose `results.json` is not a JSON object.
    """
    results_file, recipe_file, events_file = (folder / name for name in ("results.json", "recipe.yaml", "events.jsonl"))
    if not any(file.is_file() for file in (results_file, recipe_file, events_file)):
        raise InputError(f"{folder}: no results.json, recipe.yaml or events.jsonl; name the folder of a run")
    results: dict[str, Any] = {}
    if results_file.is_file():
        results = _parse_object(results_file.read_text(encoding="utf-8", errors="replace"))
        if not results:
            raise InputError(f"{results_file}: not a JSON object with results; evaluate the run again to write it anew")
    results["run"] = folder.resolve().name
    if recipe_file.is_file():
        results["recipe"] = recipe_file.read_text(encoding="utf-8", errors="replace")
    events: list[dict[str, Any]] = []
    if events_file.is_file():
        with events_file.open(encoding="utf-8", errors="replace") as file:  # a crash leaves half a line: skipped
            events = [event for line in file if (event := _parse_object(line))]
    folders.write_text(target := folder / "report.html", page(results, events))
    return target


def _section(results: dict[str, Any], task: str) -> dict[str, Any]:
    """Return one split's numbers for the template: a row for each metric, compared with every baseline."""
    keys = ("metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference")
    metrics, intervals, baseline, difference, fusion, gain = (_mapping(results.get(key)) for key in keys)
    others, fused = list(baseline | difference), next(iter(fusion), None)
    gain = {name: gain[name] for name in (str(fused), "model") if name in gain}  # of the one fusion that is shown
    quality = [name for name in (*_QUALITY, *metrics) if name in metrics and name not in _GEOMETRY]
    rows = []
    for metric in dict.fromkeys(quality):
        value, bounds = finite_number(metrics[metric]), _numbers(intervals.get(metric))
        row: dict[str, Any] = {"metric": metric, "value": value, "low": bounds.get("low"), "high": bounds.get("high")}
        row["against"] = [_difference(difference.get(name), metric, value, baseline.get(name)) for name in others]
        row["fused"] = _numbers(fusion.get(str(fused))).get(metric)
        row["gains"] = [_difference(gain[name], metric) for name in gain]
        rows.append(row)
    protocol = _mapping(results.get("protocol"))
    return {
        "task": task,
        "kind": protocol.get("kind"),
        "meanings": {
            name: words for name, words in _mapping(protocol.get("metrics")).items() if isinstance(words, str)
        },
        "others": others,
        "fused": fused,
        "gains": list(gain),
        "rows": rows,
        "verdict": next((row for row in rows if row["value"] is not None), None),
        "forests": {name: forest for i, name in enumerate(others) if (forest := _forest(rows, i))},
        "geometry": {name: value for name in _GEOMETRY if (value := finite_number(metrics.get(name))) is not None},
        "histogram": _histogram(_mapping(results.get("histogram"))),
        "worst": [row for row in results.get("worst") or [] if isinstance(row, dict)][:10],
        "worst_first": order if isinstance(order := protocol.get("worst"), str) else None,
        "protocol": results.get("protocol"),
    }


def _difference(differences: Any, metric: str, value: float | None = None, baseline: Any = None) -> dict[str, Any]:
    """Return a metric's difference to a baseline, its bounds, and the outcome that they allow to state."""
    difference, other = _numbers(_mapping(differences).get(metric)), _numbers(baseline).get(metric)
    gap = difference.get("value", None if value is None or other is None else value - other)
    low, high = difference.get("low"), difference.get("high")
    outcome = "missing" if gap is None else "untested"
    if gap is not None and low is not None and high is not None:
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return {"theirs": other, "value": gap, "low": low, "high": high, "outcome": outcome}


def _forest(rows: list[dict[str, Any]], i: int) -> list[tuple[str, float, float, float, str]]:
    """Return the rows of the chart of the differences to one baseline: those that have an interval."""
    gaps = [(row["metric"], row["against"][i]) for row in rows]
    keys = ("value", "low", "high", "outcome")
    return [(name, *(gap[key] for key in keys)) for name, gap in gaps if gap["outcome"] not in ("missing", "untested")]


def _histogram(histogram: dict[str, Any]) -> dict[str, Any] | None:
    """Return the edges and the shares of both distributions; None unless both are complete."""
    edges, *counts = (
        [finite_number(value) for value in histogram.get(key) or []] for key in ("edges", "positive", "random")
    )
    finite = [[value for value in values if value is not None] for values in counts]
    if None in edges or any(len(values) + 1 != len(edges) or not sum(values) for values in finite):
        return None
    return {"edges": edges, "shares": [[value / sum(values) for value in values] for values in finite]}


def _log(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the events for the template, by kind; a resumed run wrote some steps twice, and the later line counts."""
    start: dict[str, Any] = {}
    end: dict[str, Any] = {}
    kinds: dict[Any, dict[Any, dict[str, Any]]] = {"step": {}, "monitor": {}, "evaluate": {}, "warning": {}}
    for event in events:
        kind, step = str(event.get("event")), finite_number(event.get("step"))
        if kind == "start":
            start, end = start | event, {}
        elif kind == "end":
            end = event
        elif kind == "warning":
            kinds[kind][step, str(event.get("message"))] = event
        elif kind in kinds and step is not None:
            kinds[kind][step] = event
    steps, monitors, evaluations = kinds["step"], kinds["monitor"], kinds["evaluate"]
    metrics = {step: _mapping(event.get("metrics")) for step, event in evaluations.items()}
    others = [name for values in metrics.values() for name in values if name not in (*_GEOMETRY, "heldout_loss")]
    quality = {name: _points(metrics, name) for name in dict.fromkeys((*_QUALITY, *others))}
    alignment = dict(_points(monitors, "alignment"))
    return {
        "start": {key: finite_number(start.get(key)) for key in ("steps", "pairs", "batch_size")},
        "day": _day(start.get("time")),
        "ended": bool(end),
        "last": max(steps, default=None),
        "warnings": list(kinds["warning"]),
        "broken": [step for step, event in steps.items() if "loss" in event and finite_number(event["loss"]) is None],
        "loss": _points(steps, "loss"),
        "held_out": _points(metrics, "heldout_loss"),
        **{key: _points(monitors, key) for key in _GEOMETRY},
        "space": [(u, alignment[step], step) for step, u in _points(monitors, "uniformity") if step in alignment],
        "evaluated": {name: points for name, points in quality.items() if len(points) > 1},
    }


def _day(time: Any) -> str:
    seconds = finite_number(time)
    if seconds is None or not 0 < seconds < 4e9:
        return str(time or "")[:10]
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _points(events: dict[Any, dict[str, Any]], key: str) -> list[Point]:
    """Return (step, value) of one number of events by step; steps without it are left out."""
    return [(step, value) for step in sorted(events) if (value := finite_number(events[step].get(key))) is not None]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {key: number for key, item in _mapping(value).items() if (number := finite_number(item)) is not None}


def _parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}
