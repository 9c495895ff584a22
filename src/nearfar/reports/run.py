"""The page of a run: what it found, how sure that is, how it got there; one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from nearfar.errors import InputError
from nearfar.reports import charts, curves
from nearfar.reports.charts import Point
from nearfar.storage import folders

# The order of the table. The first that was measured carries the verdict, so that none is picked for its result.
_QUALITY = ("mrr@10", "ndcg@10", "map", "recall@1", "recall@10", "recall@100", "spearman", "pearson")
_GEOMETRY = ("alignment", "uniformity", "effective_rank", "random_cosine")


def page(facts: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Return the HTML page of a run.

    Arguments:
        facts: what `results.json` holds (the shape of `evaluate`; further splits have that shape again, under their
            names), all of it optional; "recipe" (its text or the mapping) and "run" (a name or a folder) are shown
            too. A number that is null or not finite shows as a dash.
        events: the lines of `events.jsonl`, in the order written; of a repeated step the later line wins.

    Every text is untrusted: escaped, and cut where it is very long.
    """
    recipe = facts.get("recipe") or ""
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    # Only the rows of installed packages are modules and functions; anything else is data and answers.
    packages = "unseen" in facts or "name: python_packages" in text
    sections = [_section(facts, str(facts.get("task") or ""))]
    splits = {key: told for key, told in facts.items() if key != "protocol" and "metrics" in _mapping(told)}
    sections += [_section(told, split) for split, told in splits.items()]
    log = _log(events)
    log["warnings"] = log["warnings"] or [(None, message) for message in facts.get("warnings") or []]
    run = {"name": Path(str(facts.get("run") or "")).name, "recipe": text, "packages": packages}
    told = {key: _number(facts.get(key)) for key in ("pairs", "train_pairs_per_second", "seconds")}
    return template("page.html.j2").render(run=run | told, sections=sections, log=log)


def write_page(folder: Path) -> Path:
    """Write `report.html` into a run's folder from its results, recipe and events, and return its path.

    Errors: a folder with none of the three, or whose `results.json` is not a JSON object.
    """
    results, recipe, lines = (folder / name for name in ("results.json", "recipe.yaml", "events.jsonl"))
    if not any(file.is_file() for file in (results, recipe, lines)):
        raise InputError(f"{folder}: no results.json, recipe.yaml or events.jsonl; name the folder of a run")
    facts: dict[str, Any] = {}
    if results.is_file() and not (facts := _parsed(results.read_text(encoding="utf-8", errors="replace"))):
        raise InputError(f"{results}: not a JSON object with results; evaluate the run again to write it anew")
    facts["run"] = folder.resolve().name
    if recipe.is_file():
        facts["recipe"] = recipe.read_text(encoding="utf-8", errors="replace")
    events: list[dict[str, Any]] = []
    if lines.is_file():
        with lines.open(encoding="utf-8", errors="replace") as file:
            events = [event for line in file if (event := _parsed(line))]  # a crash leaves half a line: passed over
    folders.write_text(target := folder / "report.html", page(facts, events))
    return target


def number(value: float | None, sign: bool = False) -> str:
    """Return a number as the page shows it: no zero that is none, a true minus, a dash for what is missing."""
    if value is None:
        return "\u2013"
    size = abs(value)
    shown = f"{size:,.{3 if size < 10 else 1 if size < 1000 else 0}f}"
    if size and not float(shown.replace(",", "")):
        shown = f"{size:.1g}".replace("-", "\u2212")
    return ("\u2212" if value < 0 else "+" if sign and value > 0 else "") + shown


def _section(facts: dict[str, Any], task: str) -> dict[str, Any]:
    """Return one split's numbers for the template: a row for each metric, against every baseline."""
    keys = ("metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference")
    metrics, intervals, baseline, difference, fusion, gain = (_mapping(facts.get(key)) for key in keys)
    others, fused = list(baseline | difference), next(iter(fusion), None)
    gain = {name: gain[name] for name in (str(fused), "model") if name in gain}  # of the one fusion that is told of
    quality = [name for name in (*_QUALITY, *metrics) if name in metrics and name not in _GEOMETRY]
    rows = []
    for metric in dict.fromkeys(quality):
        value, bounds = _number(metrics[metric]), _numbers(intervals.get(metric))
        row: dict[str, Any] = {"metric": metric, "value": value, "low": bounds.get("low"), "high": bounds.get("high")}
        row["against"] = [_difference(difference.get(name), metric, value, baseline.get(name)) for name in others]
        row["fused"] = _numbers(fusion.get(str(fused))).get(metric)
        row["gains"] = [_difference(gain[name], metric) for name in gain]
        rows.append(row)
    return {
        "task": task,
        "others": others,
        "fused": fused,
        "gains": list(gain),
        "rows": rows,
        "verdict": next((row for row in rows if row["value"] is not None), None),
        "forests": {name: shown for i, name in enumerate(others) if (shown := _forest(rows, i))},
        "geometry": {name: value for name in _GEOMETRY if (value := _number(metrics.get(name))) is not None},
        "histogram": _histogram(_mapping(facts.get("histogram"))),
        "worst": [row for row in facts.get("worst") or [] if isinstance(row, dict)][:10],
        "protocol": facts.get("protocol"),
    }


def _difference(told: Any, metric: str, value: float | None = None, theirs: Any = None) -> dict[str, Any]:
    """Return a difference with its bounds and what they allow to say; without bounds it is only a number."""
    found, other = _numbers(_mapping(told).get(metric)), _numbers(theirs).get(metric)
    gap = found.get("value", None if value is None or other is None else value - other)
    low, high = found.get("low"), found.get("high")
    look = "missing" if gap is None else "untested"
    if gap is not None and low is not None and high is not None:
        look = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return {"theirs": other, "value": gap, "low": low, "high": high, "look": look}


def _forest(rows: list[dict[str, Any]], i: int) -> list[tuple[str, float, float, float, str]]:
    """Return what the chart of the differences to one baseline needs: only those that have an interval."""
    found = [(row["metric"], row["against"][i]) for row in rows]
    keys = ("value", "low", "high", "look")
    return [(name, *(gap[key] for key in keys)) for name, gap in found if gap["look"] not in ("missing", "untested")]


def _histogram(told: dict[str, Any]) -> dict[str, Any] | None:
    """Return the edges and each distribution's shares, or nothing unless both are whole."""
    edges, *counts = ([_number(value) for value in told.get(key) or []] for key in ("edges", "positive", "random"))
    whole = [[value for value in values if value is not None] for values in counts]
    if None in edges or any(len(values) + 1 != len(edges) or not sum(values) for values in whole):
        return None
    return {"edges": edges, "shares": [[value / sum(values) for value in values] for values in whole]}


def _log(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what happened, by kind; a run that was resumed wrote some steps twice, and the later line counts."""
    start: dict[str, Any] = {}
    end: dict[str, Any] = {}
    kinds: dict[Any, dict[Any, dict[str, Any]]] = {"step": {}, "monitor": {}, "evaluate": {}, "warning": {}}
    for event in events:
        kind, step = str(event.get("event")), _number(event.get("step"))
        if kind == "start":
            start, end = start | event, {}
        elif kind == "end":
            end = event
        elif kind == "warning":
            kinds[kind][step, str(event.get("message"))] = event
        elif kind in kinds and step is not None:
            kinds[kind][step] = event
    return {
        "start": {key: _number(start.get(key)) for key in ("steps", "pairs", "batch_size")},
        "day": _day(start.get("time")),
        "ended": bool(end),
        "last": max(kinds["step"], default=None),
        "warnings": list(kinds["warning"]),
        "broken": [step for step, event in kinds["step"].items() if "loss" in event and _number(event["loss"]) is None],
        "loss": _points(kinds["step"], "loss"),
        "held_out": _points({s: _mapping(e.get("metrics")) for s, e in kinds["evaluate"].items()}, "heldout_loss"),
        **{key: _points(kinds["monitor"], key) for key in _GEOMETRY},
        "space": _space(kinds["monitor"]),
        "evaluated": _evaluated(kinds["evaluate"]),
    }


def _day(time: Any) -> str:
    seconds = _number(time)
    if seconds is None or not 0 < seconds < 4e9:
        return str(time or "")[:10]
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _points(events: dict[Any, dict[str, Any]], key: str) -> list[Point]:
    return [(step, value) for step in sorted(events) if (value := _number(events[step].get(key))) is not None]


def _space(events: dict[Any, dict[str, Any]]) -> list[tuple[float, float, float]]:
    alignment = dict(_points(events, "alignment"))
    return [(value, alignment[step], step) for step, value in _points(events, "uniformity") if step in alignment]


def _evaluated(events: dict[Any, dict[str, Any]]) -> dict[str, list[Point]]:
    metrics = {step: _mapping(event.get("metrics")) for step, event in events.items()}
    curves = {name: _points(metrics, name) for name in _QUALITY}
    return {name: points for name, points in curves.items() if len(points) > 1}


def _number(value: Any) -> float | None:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if real and abs(value) < 1e100 else None  # NaN is not below either


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {key: found for key, told in _mapping(value).items() if (found := _number(told)) is not None}


def _parsed(text: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}


def _tidy(text: Markup) -> Markup:
    return Markup(" ").join(text.split())


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of this room, with its filters."""
    loader = jinja2.PackageLoader("nearfar.reports", "templates")
    house = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    house.filters |= {"number": number, "hash": _hash, "tidy": _tidy, "real": _number}
    house.globals |= {"charts": charts, "curves": curves}
    return house.get_template(name)
