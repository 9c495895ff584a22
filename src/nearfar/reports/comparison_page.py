"""The page of a comparison of runs: differences, the rows that differ most, learning curves, settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from nearfar.evaluation.verdict import in_order
from nearfar.figures import outcome, pair_of, title
from nearfar.reports import charts
from nearfar.reports.comparison_tables import setting_text
from nearfar.reports.page import template
from nearfar.reports.run_record import RunRecord

COLOURS = 7  # of curves; further runs are not drawn
_OF_LOSS = ("loss.", "objective.", "training.batch_size", "training.queue")  # settings that change a loss's height
Points = Sequence[charts.Point]
PointsOf = Callable[[Mapping[str, Any]], Points]


def page(facts: Mapping[str, Any], runs: Sequence[RunRecord]) -> str:
    """Return the HTML page of a comparison; every text is untrusted and escaped, and it loads nothing.

    facts: in the shape of `comparison.comparison`. runs: the same runs, whose courses are drawn.
    """
    differ = [one["setting"] for one in facts["settings"]]
    return template("compare.html.j2").render(
        facts=facts,
        names=[run.name for run in runs],
        tasks=[{**task, "forests": _forests(task), "runs": list(task["metrics"])} for task in facts["tasks"]],
        curves=_curves(runs[:COLOURS], [name for name in differ if name.startswith(_OF_LOSS)][:4]),
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


def _curves(runs: Sequence[RunRecord], of_loss: Sequence[str]) -> list[dict[str, Any]]:
    """Return the charts in which the courses of the runs are laid over each other: title, note, drawing, legend.

    Over steps, or where batches are of different sizes over the examples that were seen. of_loss: the settings that
    change the height of a loss and are not the same in all runs.
    """
    batches = {run.course["start"]["batch_size"] for run in runs}
    by_example = len(batches) > 1 and None not in batches
    found = []
    for heading, note, points_of in _wanted(runs, of_loss):
        series: dict[str, tuple[str, Points]] = {}
        for i, run in enumerate(runs):
            size = float(run.course["start"]["batch_size"] or 1) if by_example else 1.0
            points = [(size * step, value) for step, value in points_of(run.course)]
            if len(points) > 1:
                series[run.name] = (f"run g{i}", points)
        if series:
            drawing = charts.lines(heading, series, "examples" if by_example else "step")
            legend = [(style, name[:60]) for name, (style, _) in series.items()]
            found.append({"title": heading, "note": note, "drawing": drawing, "legend": legend})
    return found


def _wanted(runs: Sequence[RunRecord], of_loss: Sequence[str]) -> Iterator[tuple[str, str, PointsOf]]:
    """Yield the charts that there may be: the title, a note, and which points of a run's course are drawn."""
    differ = f" The runs differ in {', '.join(of_loss)}, so compare the course of their losses, not the height."
    more = differ if of_loss else ""
    smooth = "Moving averages over a twentieth of the steps."
    yield "Loss in training", smooth + more, lambda course: charts.smooth(course["loss"])
    yield "Held-out loss", f"Of fixed batches of held-out rows, without dropout.{more}", itemgetter("held_out")
    rate = "hit_rate@10"
    yield (
        "Hit rate of held-out pairs at 10",
        "Among the keys of a batch.",
        lambda course: course["held_out_rates"].get(rate, []),
    )
    for kind, note in (
        ("evaluated", "On the split that is judged."),
        ("online", "On pictures kept back from training."),
    ):
        name = next((name for run in runs for name in run.course[kind]), None)
        if name is not None:
            yield f"{title(name)} while training", note, lambda course, k=kind, n=name: course[k].get(n, [])  # type: ignore[misc]
