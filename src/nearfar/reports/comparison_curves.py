"""The learning curves of runs beside each other: the courses that several of them have, over steps or examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from nearfar.figures import title
from nearfar.reports import charts
from nearfar.reports.run_record import RunRecord

_OF_LOSS = ("loss.", "objective.", "training.batch_size", "training.queue")  # settings that change a loss's height
Points = Sequence[charts.Point]
PointsOf = Callable[[Mapping[str, Any]], Points]


def learning_curves(runs: Sequence[RunRecord], differ: Sequence[str]) -> list[dict[str, Any]]:
    """Return the courses of runs: for each {"title", "note", "over", "series"}, series: [x, y] of points by run.

    over: "step", or "examples" where batches are of different sizes. differ: the settings that are not the same in all
    runs. A curve has some hundred points; those of a spike are among them.
    """
    batches = {run.course["start"]["batch_size"] for run in runs}
    by_example = len(batches) > 1 and None not in batches
    found = []
    for heading, note, points_of in _wanted(runs, [name for name in differ if name.startswith(_OF_LOSS)][:4]):
        series = {}
        for run in runs:
            size = float(run.course["start"]["batch_size"] or 1) if by_example else 1.0
            points = charts.thin([(size * step, value) for step, value in points_of(run.course)])
            if len(points) > 1:
                series[run.name] = [list(point) for point in points]
        if series:
            found.append(
                {"title": heading, "note": note, "over": "examples" if by_example else "step", "series": series}
            )
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
