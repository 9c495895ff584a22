"""One split on the page of a run: rows with their outcomes, the verdict, sizes, wrong answers and the map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nearfar.reports.course import GEOMETRY, QUALITY, mapping, numbers
from nearfar.reports.numbers import finite_number
from nearfar.reports.scatter import grouped

_FORESTS = 3  # baselines with a chart of the differences
_POINTS = 500  # of a map
_SIZES = {  # of the protocol, with their titles
    "queries": "Queries", "documents": "Documents", "documents seen in training": "Documents seen in training",
    "cells": "Cells", "training cells": "Training cells", "classes": "Classes",
}  # fmt: skip
_OUTCOMES = ("better", "worse", "undecided")


def section_of(results: dict[str, Any], task: str) -> dict[str, Any]:
    """Return one split's numbers for the template: a row for each metric, compared with every baseline."""
    keys = ("metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference")
    metrics, intervals, baseline, difference, fusion, gain = (mapping(results.get(key)) for key in keys)
    verdict, others = _verdict(results.get("verdict")), list(baseline | difference)
    others.sort(key=lambda name: verdict is None or name != verdict["against"])  # what it compares with comes first
    fused = next(iter(fusion), None)
    gain = {name: gain[name] for name in (str(fused), "model") if name in gain}  # of the one fusion that is shown
    quality = [name for name in (*QUALITY, *metrics) if name in metrics and name not in GEOMETRY]
    rows = []
    for metric in dict.fromkeys(quality):
        value, bounds = finite_number(metrics[metric]), numbers(intervals.get(metric))
        row: dict[str, Any] = {"metric": metric, "value": value, "low": bounds.get("low"), "high": bounds.get("high")}
        row["plain"] = bool(intervals) and metric not in intervals  # a number that has no interval by its nature
        row["against"] = [_difference(difference.get(name), metric, value, baseline.get(name)) for name in others]
        row["fused"] = numbers(fusion.get(str(fused))).get(metric)
        row["gains"] = [_difference(gain[name], metric) for name in gain]
        rows.append(row)
    protocol = mapping(results.get("protocol"))
    wrong = finite_number(protocol.get("queries with a wrong first document"))
    return {
        "task": task,
        "kind": protocol.get("kind"),
        "meanings": {name: words for name, words in mapping(protocol.get("metrics")).items() if isinstance(words, str)},
        "others": others,
        "titles": _titles([*others, *gain]),
        "fused": fused,
        "gains": list(gain),
        "rows": rows,
        "judged": verdict,
        "verdict": next((row for row in rows if row["value"] is not None), None),
        "about_intervals": words if isinstance(words := protocol.get("intervals"), str) else None,
        "forests": {name: forest for i, name in enumerate(others[:_FORESTS]) if (forest := _forest(rows, i))},
        "geometry": {name: value for name in GEOMETRY if (value := finite_number(metrics.get(name))) is not None},
        "space": numbers(mapping(protocol.get("model")).get("space")),
        "sizes": [(title, size) for name, title in _SIZES.items() if (size := numbers(protocol).get(name)) is not None],
        "histogram": _histogram(mapping(results.get("histogram"))),
        "worst": [row for row in listed(results.get("worst")) if isinstance(row, dict)][:10],
        "worst_first": order if isinstance(order := protocol.get("worst"), str) else None,
        "wrong": wrong,
        "queries": finite_number(protocol.get("queries")),
        "samples": [row for row in listed(results.get("samples")) if isinstance(row, dict)][:3],
        "map": _map(mapping(results.get("map"))),
        "protocol": results.get("protocol"),
    }


def _verdict(verdict: Any) -> dict[str, Any] | None:
    """Return the verdict that the evaluation gave; None where it gave none."""
    content = mapping(verdict)
    sentence, advice = content.get("sentence"), content.get("advice")
    if not isinstance(sentence, str) or not sentence.strip():
        return None
    outcome = content.get("outcome")
    return {
        "sentence": sentence.strip(),
        "advice": advice.strip() if isinstance(advice, str) else "",
        "outcome": outcome if outcome in _OUTCOMES else "unknown",
        "against": content.get("against"),
    }


def _titles(names: Iterable[str]) -> dict[str, str]:
    """Return a name for each baseline that no second one has: of a model's folder the run's, whole where two agree."""
    short = {name: str(name).rstrip("/").removesuffix("/model").split("/")[-1] or str(name) for name in names}
    taken = list(short.values())
    return {name: title if taken.count(title) == 1 else str(name) for name, title in short.items()}


def _difference(differences: Any, metric: str, value: float | None = None, baseline: Any = None) -> dict[str, Any]:
    """Return a metric's difference to a baseline, its bounds, and the outcome that they allow to state."""
    difference, other = numbers(mapping(differences).get(metric)), numbers(baseline).get(metric)
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
        [finite_number(value) for value in listed(histogram.get(key))] for key in ("edges", "positive", "random")
    )
    finite = [[value for value in values if value is not None] for values in counts]
    if None in edges or any(len(values) + 1 != len(edges) or not sum(values) for values in finite):
        return None
    return {"edges": edges, "shares": [[value / sum(values) for value in values] for values in finite]}


def _map(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the points of a map with their styles and its legend; None unless it is complete."""
    names = [str(name) for name in listed(given.get("groups"))]
    points = list(zip(*(map(finite_number, listed(given.get(key))) for key in ("x", "y", "group")), strict=False))
    points = points[:_POINTS]
    shares = [finite_number(share) for share in listed(given.get("shares"))]
    if len(points) < 3 or len(shares) != 2 or None in shares or any(None in point for point in points):
        return None
    groups = [int(group or 0) for _, _, group in points]
    if not all(0 <= group < len(names) for group in groups):
        return None
    legend, styles = grouped(names, groups)
    texts = [*map(str, listed(given.get("text"))), *[""] * len(points)]
    linked = [pair for pair in listed(given.get("pairs")) if isinstance(pair, list) and len(pair) == 2]
    known = [(i, j) for i, j in linked if all(type(end) is int and 0 <= end < len(points) for end in (i, j))]
    tips = [": ".join(part for part in (names[group][:60], text[:100]) if part) for group, text in zip(groups, texts)]
    return {
        "points": [(x, y) for x, y, _ in points],
        "styles": styles,
        "tips": tips,
        "legend": legend,
        "pairs": known[:_POINTS],
        "shares": shares,
        "dim": finite_number(given.get("dim")),
        "of": finite_number(given.get("of")),
    }


def listed(value: Any) -> list[Any]:
    """Return a list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else []
