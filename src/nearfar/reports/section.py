"""One split on the page of a run: rows with their outcomes, the verdict, sizes, wrong answers and the map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nearfar.evaluation.verdict import GEOMETRY, HELDOUT_LOSS, in_order, verdict
from nearfar.figures import (
    SEARCH,
    SEEN_DOCUMENTS,
    SIZES,
    SYSTEM,
    WRONG_FIRST,
    finite,
    label_of,
    mapping,
    outcome,
    pair_of,
)
from nearfar.reports.course import numbers
from nearfar.reports.scatter import centres, grouped
from nearfar.reports.sheets import Sprites, contact_sheet, thumbnails
from nearfar.vectors.kept import NEIGHBOURS

_FORESTS = 3  # baselines with a chart of the differences
_POINTS = 500  # of a map
_CLASSES = 200  # of a table


def section_of(results: dict[str, Any], task: str, sprites: Sprites | None = None) -> dict[str, Any]:
    """Return one split's numbers for the template: a row for each metric, compared with every baseline.

    sprites: of the pictures that the contact sheet and the map name; without them they show none.
    """
    sprites = sprites or Sprites({})
    keys = ("metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference")
    metrics, intervals, baseline, difference, fusion, gain = (mapping(results.get(key)) for key in keys)
    judged, others = verdict(results), list(baseline | difference)
    others.sort(key=lambda name: name != judged["against"])  # what the verdict compares with comes first
    fused = next(iter(fusion), None)
    gain = {name: gain[name] for name in (str(fused), "model") if name in gain}  # of the one fusion that is shown
    protocol, rows = mapping(results.get("protocol")), []
    enough = bool(intervals) and not isinstance(protocol.get("intervals"), str)  # the protocol says why there are none
    for metric in (*in_order(metrics), *(name for name in metrics if name == HELDOUT_LOSS)):
        value = finite(metrics[metric])
        row: dict[str, Any] = {"metric": metric, "value": value, "interval": intervals.get(metric)}
        of_metric = pair_of(intervals.get(metric))
        row["plain"] = bool(intervals) and of_metric is None and (enough or metric not in intervals)  # by its nature
        row["against"] = [_difference(difference.get(name), metric, value, baseline.get(name)) for name in others]
        row["against"] = [{**gap, "plain": row["plain"]} for gap in row["against"]]
        row["fused"] = numbers(fusion.get(str(fused))).get(metric)
        row["gains"] = [_difference(gain[name], metric) for name in gain]
        rows.append(row)
    wrong = finite(protocol.get(WRONG_FIRST))
    sheet = contact_sheet(mapping(results.get("sheet")), sprites)  # it shows the worst as they look
    return {
        "task": task,
        "system": "The search" if protocol.get(SYSTEM) == SEARCH else "This model",
        "mode": mapping(protocol.get(SEARCH)).get("mode"),
        "kind": protocol.get("kind"),
        "meanings": {name: words for name, words in mapping(protocol.get("metrics")).items() if isinstance(words, str)},
        "others": others,
        "titles": _titles([*others, *gain], protocol),
        "fused": fused,
        "gains": list(gain),
        "rows": rows,
        "verdict": judged,
        "first": next((row for row in rows if row["metric"] == judged["metric"]), None),
        "about_intervals": words if isinstance(words := protocol.get("intervals"), str) else None,
        "forests": {name: forest for i, name in enumerate(others[:_FORESTS]) if (forest := _forest(rows, i))},
        "geometry": {name: value for name in GEOMETRY if (value := finite(metrics.get(name))) is not None},
        "space": numbers(mapping(protocol.get("model")).get("space")),
        "of_train": "train" in (mapping(protocol.get("model")).get("columns") or ("train",)),
        "sizes": _sizes(numbers(protocol)),
        "histogram": _histogram(mapping(results.get("histogram"))),
        "by_class": _by_class(mapping(results.get("by_class"))),
        "worst": [] if sheet else [row for row in entries(results.get("worst")) if isinstance(row, dict)][:10],
        "worst_first": order if isinstance(order := protocol.get("worst"), str) else None,
        "wrong": wrong,
        "queries": finite(protocol.get("queries")),
        "samples": [row for row in entries(results.get("samples")) if isinstance(row, dict)][:3],
        "sheet": sheet,
        "projection_map": _projection_map(
            mapping(results.get("projection_map")), sprites, mapping(protocol.get("kinds"))
        ),
        "protocol": results.get("protocol"),
    }


def _sizes(protocol: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the sizes of a task with their titles; how many documents were seen in training follows the documents."""
    names = [name for what in SIZES for name in ((what, SEEN_DOCUMENTS) if what == "documents" else (what,))]
    return [(name[0].upper() + name[1:], protocol[name]) for name in names if name in protocol]


def _titles(names: Iterable[str], protocol: Mapping[str, Any]) -> dict[str, str]:
    """Return a name for each baseline that no second one has: its label; of a model's folder the run's, or the whole.

    The whole folder stands where two would have one name.
    """
    titles = {name: label if (label := label_of(name, protocol)) != name else _run_of(name) for name in names}
    taken = list(titles.values())
    return {name: title if taken.count(title) == 1 else name for name, title in titles.items()}


def _run_of(folder: str) -> str:
    return folder.rstrip("/").removesuffix("/model").split("/")[-1] or folder


def _difference(differences: Any, metric: str, value: float | None = None, baseline: Any = None) -> dict[str, Any]:
    """Return a metric's difference to a baseline, its interval, and the outcome that this allows to state."""
    found, other = mapping(mapping(differences).get(metric)), numbers(baseline).get(metric)
    gap = finite(found.get("value"))
    if gap is None and value is not None and other is not None:
        gap = value - other
    return {"theirs": other, "value": gap, "interval": found, "outcome": "missing" if gap is None else outcome(found)}


def _forest(rows: list[dict[str, Any]], i: int) -> list[tuple[str, float, float, float, str]]:
    """Return the rows of the chart of the differences to one baseline: those that have an interval."""
    gaps = [(row["metric"], row["against"][i]) for row in rows]
    known = [
        (name, gap, found) for name, gap in gaps if gap["value"] is not None and (found := pair_of(gap["interval"]))
    ]
    return [(name, gap["value"], *found, gap["outcome"]) for name, gap, found in known]


def _by_class(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the metrics and a row for each class: its name, its cells and its values; None unless it is complete."""
    classes, cells, values = entries(given.get("classes")), entries(given.get("cells")), mapping(given.get("values"))
    metrics = in_order(values)
    columns = [entries(values[name]) for name in metrics]
    if len(classes) < 2 or not metrics or any(len(column) != len(classes) for column in (cells, *columns)):
        return None
    rows = zip(map(str, classes), map(finite, cells), zip(*([finite(value) for value in column] for column in columns)))
    return {
        "metrics": metrics,
        "rows": [{"name": name, "cells": n, "values": each} for name, n, each in rows][:_CLASSES],
    }


def _histogram(histogram: dict[str, Any]) -> dict[str, Any] | None:
    """Return the edges and the shares of both distributions; None unless both are complete."""
    edges, *counts = (
        [finite(value) for value in entries(histogram.get(key))] for key in ("edges", "positive", "random")
    )
    known = [[value for value in values if value is not None] for values in counts]
    if None in edges or any(len(values) + 1 != len(edges) or not sum(values) for values in known):
        return None
    return {"edges": edges, "shares": [[value / sum(values) for value in values] for values in known]}


def _projection_map(
    given: dict[str, Any], sprites: Sprites, kinds: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the points of a map with their styles and its legend; None unless it is complete.

    kinds: those of queries and documents, where they differ: texts are squares, and both groups have their centres.
    """
    names = [str(name) for name in entries(given.get("groups"))]
    points = list(zip(*(map(finite, entries(given.get(key))) for key in ("x", "y", "group")), strict=False))
    points = points[:_POINTS]
    shares = [finite(share) for share in entries(given.get("shares"))]
    if len(points) < 3 or len(shares) != 2 or None in shares or any(None in point for point in points):
        return None
    groups = [int(group or 0) for _, _, group in points]
    if not all(0 <= group < len(names) for group in groups):
        return None
    legend, styles = grouped(names, groups)
    two_kinds = bool(kinds) and len(names) == len(legend) == 2
    if kinds and two_kinds:
        marks = (
            ("g1 square", "g0") if kinds.get("queries") == "text" else ("g0", "g1 square")
        )  # as in the other direction
        legend = [replace(one, style=mark) for one, mark in zip(legend, marks)]
        styles = [marks[group] for group in groups]
    texts = [*map(str, entries(given.get("text"))), *[""] * len(points)]
    linked = [pair for pair in entries(given.get("pairs")) if isinstance(pair, list) and len(pair) == 2]
    known = [(i, j) for i, j in linked if all(type(end) is int and 0 <= end < len(points) for end in (i, j))]
    tips = [": ".join(part for part in (names[group][:60], text[:100]) if part) for group, text in zip(groups, texts)]
    placed = [(float(x or 0), float(y or 0)) for x, y, _ in points]
    return {
        "points": placed,
        "centres": centres(names, placed, groups, styles) if two_kinds else [],
        "styles": styles,
        "tips": tips,
        "legend": legend,
        "pairs": known[:_POINTS],
        "kept": finite(given.get("kept")),
        "chance": min(1.0, NEIGHBOURS / (len(points) - 1)),
        "thumbnails": thumbnails(given, sprites, len(points)),
        "shares": shares,
        "dim": finite(given.get("dim")),
        "of": finite(given.get("of")),
    }


def entries(value: Any) -> list[Any]:
    """Return a list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else []
