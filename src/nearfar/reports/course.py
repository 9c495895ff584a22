"""The course of a run for its page: its events as curves, with the borders of its epochs and what each curve is of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nearfar.evaluation.verdict import GEOMETRY, HELDOUT_LOSS, in_order
from nearfar.figures import finite, mapping
from nearfar.reports.charts import Point
from nearfar.reports.completions import written_texts
from nearfar.reports.numbers import short

RATES = ("hit_rate@1", "hit_rate@5", "hit_rate@10")
_BORDERS = 10  # of epochs that are drawn


def course_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the events for the template, by kind; a resumed run wrote some steps twice, and the later line counts.

    held_out_rates: the hit rates of held-out pairs within their batches, by name; {} where some are missing.
    geometry: for each of its names two curves, of vectors of training batches and of the held-out vectors that the
    evaluation measured; the last held-out value is that of the tile of the same name.
    """
    start: dict[str, Any] = {}
    end: dict[str, Any] = {}
    kinds: dict[Any, dict[Any, dict[str, Any]]] = {
        kind: {} for kind in ("step", "monitor", "evaluate", "heldout", "online", "completions", "warning")
    }
    for event in events:
        kind, step = str(event.get("event")), finite(event.get("step"))
        if kind == "start":
            start, end = start | event, {}
        elif kind == "end":
            end = event
        elif kind == "warning":
            kinds[kind][step, str(event.get("message"))] = event
        elif kind in kinds and step is not None:
            kinds[kind][step] = event
    steps, monitors, evaluations = kinds["step"], kinds["monitor"], kinds["evaluate"]
    metrics = {step: mapping(event.get("metrics")) for step, event in evaluations.items()}
    quality = {name: _points(metrics, name) for name in in_order(name for found in metrics.values() for name in found)}
    online = {step: mapping(event.get("metrics")) for step, event in kinds["online"].items()}
    rates = {name: _points(kinds["heldout"], name) for name in RATES}
    alignment = dict(_points(monitors, "alignment"))
    plan = {key: finite(start.get(key)) for key in ("steps", "pairs", "batch_size")}
    last = max(steps, default=None)
    return {
        "start": plan,
        "day": _day(start.get("time")),
        "ended": bool(end),
        "last": last,
        **_epochs(plan, plan["steps"] if last is None else last),
        "warnings": list(kinds["warning"]),
        "broken": [step for step, event in steps.items() if "loss" in event and finite(event["loss"]) is None],
        "loss": _points(steps, "loss"),
        "held_out": _points(kinds["heldout"] | metrics, HELDOUT_LOSS),
        "held_out_rates": rates if all(rates.values()) else {},
        "held_out_of": next((numbers(event.get("of")) for event in kinds["heldout"].values()), {}),
        "geometry": {key: (_points(monitors, key), _points(metrics, key)) for key in GEOMETRY},
        "space": [(u, alignment[step], step) for step, u in _points(monitors, "uniformity") if step in alignment],
        "written": written_texts(kinds["completions"]),
        "online": {
            name: _points(online, name) for name in in_order(name for found in online.values() for name in found)
        },
        "online_of": next((numbers(event.get("of")) for event in kinds["online"].values()), {}),
        "evaluated": {name: points for name, points in quality.items() if len(points) > 1},
    }


def _epochs(plan: dict[str, float | None], last: float | None) -> dict[str, Any]:
    """Return how many epochs so many steps were, and the steps at which an epoch ends, with the next one's name.

    An epoch is as many examples as the data has, so it may end within a batch. Of many borders a few are drawn, at even
    distances.
    """
    pairs, batch_size = plan["pairs"], plan["batch_size"]
    if not last or not pairs or not batch_size or min(last, pairs, batch_size) <= 0:
        return {"epochs": None, "borders": []}
    epochs = last * batch_size / pairs
    whole = int(min(max(last - 1, 0) * batch_size / pairs, 1e6))  # no border in the last step, with which the run ends
    stride = max(1, -(-whole // _BORDERS))
    numbered = range(stride, whole + 1, stride)
    borders = [(k * pairs / batch_size, f"epoch {k + 1}" if k == stride else str(k + 1)) for k in numbered]
    return {"epochs": short(round(epochs, 1)), "borders": borders}


def _day(time: Any) -> str:
    seconds = finite(time)
    if seconds is None or not 0 < seconds < 4e9:
        return str(time or "")[:10]
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _points(events: dict[Any, dict[str, Any]], key: str) -> list[Point]:
    """Return (step, value) of one number of events by step; steps without it are left out."""
    return [(step, value) for step in sorted(events) if (value := finite(events[step].get(key))) is not None]


def numbers(value: Any) -> dict[str, float]:
    """Return the finite numbers of a mapping."""
    return {key: number for key, item in mapping(value).items() if (number := finite(item)) is not None}
