"""The page of a comparison of runs: differences, the rows that differ most, learning curves, settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.evaluation.verdict import in_order
from nearfar.figures import outcome, pair_of
from nearfar.reports import charts
from nearfar.reports.comparison_tables import setting_text
from nearfar.reports.page import template

COLOURS = 7  # of curves; further runs are not drawn


def page(facts: Mapping[str, Any]) -> str:
    """Return the HTML page of a comparison; every text is untrusted and escaped, and it loads nothing.

    facts: in the shape of `comparison.comparison`.
    """
    return template("compare.html.j2").render(
        facts=facts,
        names=[run["name"] for run in facts["runs"]],
        tasks=[{**task, "forests": _forests(task), "runs": list(task["metrics"])} for task in facts["tasks"]],
        curves=_curves(facts["curves"], [run["name"] for run in facts["runs"][:COLOURS]]),
        colours=COLOURS,
        setting_text=setting_text,
    )


def _forests(task: Mapping[str, Any]) -> dict[str, list[tuple[str, float, float, float, str]]]:
    """Return the rows of a chart of the differences of each run: those of metrics that judge a model."""
    found: dict[str, list[tuple[str, float, float, float, str]]] = {}
    for name, gaps in task["difference"].items():
        known = [(metric, gaps[metric], pair) for metric in in_order(gaps) if (pair := pair_of(gaps[metric]))]
        if known:
            found[name] = [(metric, gap["value"], *pair, outcome(gap)) for metric, gap, pair in known]
    return found


def _curves(curves: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the charts of the courses of some runs, laid over each other: title, note, drawing, legend."""
    found = []
    for curve in curves:
        shown = [(i, name) for i, name in enumerate(names) if name in curve["series"]]
        series = {name: (f"run g{i}", curve["series"][name]) for i, name in shown}
        if series:
            legend = [(style, name[:60]) for name, (style, _) in series.items()]
            drawing = charts.lines(curve["title"], series, curve["over"])
            found.append({"title": curve["title"], "note": curve["note"], "drawing": drawing, "legend": legend})
    return found
