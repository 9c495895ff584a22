"""The page of a comparison of runs: differences, the rows that differ most, learning curves, settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from nearfar.evaluation.verdict import in_order
from nearfar.figures import pair_of, title
from nearfar.reports import charts
from nearfar.reports.comparison_tables import setting_text
from nearfar.reports.page import template
from nearfar.reports.run_record import RunRecord

COLOURS = 7  # of curves; further runs are not drawn
_OF_LOSS = ("loss.", "objective.", "training.batch_size", "training.queue")  # settings that change a loss's height
Points = Sequence[charts.Point]


def page(facts: Mapping[str, Any], runs: Sequence[RunRecord]) -> str:
    """Return the HTML page of a comparison; every text is untrusted and escaped, and it loads nothing.

    facts: in the shape of `comparison.comparison`. runs: the same runs, whose courses are drawn.
    """
    differ = [one["setting"] for one in facts["settings"]]
    return template("compare.html.j2").render(
        facts=facts,
        names=[run.name for run in runs],
        tasks=[{**task, "forests": _forests(task), "runs": list(task["metrics"])} for task in facts["tasks"]],
        curves=_curves(runs[:COLOURS]),
        colours=COLOURS,
        of_loss=[name for name in differ if name.startswith(_OF_LOSS)],
        setting_text=setting_text,
    )


def _forests(task: Mapping[str, Any]) -> dict[str, list[tuple[str, float, float, float, str]]]:
    """Return the rows of a chart of the differences of each run: those of metrics that judge a model."""
    styles = {True: "better", False: "worse", None: "undecided"}
    found: dict[str, list[tuple[str, float, float, float, str]]] = {}
    for name, gaps in task["difference"].items():
        rows = []
        for metric in in_order(gaps):
            if (pair := pair_of(gaps[metric])) is not None:
                side = True if pair[0] > 0 else False if pair[1] < 0 else None
                rows.append((metric, gaps[metric]["value"], *pair, styles[side]))
        if rows:
            found[name] = rows
    return found


def _curves(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the charts in which the courses of the runs are laid over each other: title, note, drawing, legend.

    Over steps, or where batches are of different sizes over the examples that were seen.
    """
    batches = {run.course["start"]["batch_size"] for run in runs}
    examples = len(batches) > 1 and None not in batches
    wanted: list[tuple[str, str, Callable[[Mapping[str, Any]], Points]]] = [
        ("Loss in training", "Moving averages over a twentieth of the steps.", lambda of: charts.smooth(of["loss"])),
        ("Held-out loss", "Of fixed batches of held-out rows, without dropout.", lambda of: of["held_out"]),
        ("Hit rate of held-out pairs at 10", "Among the keys of a batch.", lambda of: of["held_out_rates"].get("hit_rate@10", [])),
    ]
    for kind, note in (("evaluated", "Of the split it is judged on."), ("online", "Of pictures kept back from training.")):
        name = next((name for run in runs for name in run.course[kind]), None)
        if name is not None:
            wanted.append((f"{title(name)} while training", note, lambda of, k=kind, n=name: of[k].get(n, [])))  # type: ignore[misc]
    found = []
    for heading, note, points_of in wanted:
        series: dict[str, tuple[str, Points]] = {}
        for i, run in enumerate(runs):
            points = points_of(run.course)
            if len(points) > 1:
                by = float(run.course["start"]["batch_size"] or 1) if examples else 1.0
                series[run.name[:60]] = (f"run g{i}", [(by * step, value) for step, value in points])
        if series:
            drawing: Markup = charts.lines(heading, series, "examples" if examples else "step")
            legend = [(style, name) for name, (style, _) in series.items()]
            found.append({"title": heading, "note": note, "drawing": drawing, "legend": legend})
    return found
