"""The charts of the temperature laboratory, as inline SVG: curves over the temperature, and results of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nearfar.reports.charts import Axis, LogAxis, Point, dot, line, percent, plot, stretched, tag, words
from nearfar.reports.numbers import short

X_NAME = "temperature"
_MARGIN = 0.3  # of a power of ten, between the curves and their limits


@dataclass(frozen=True)
class Curve:
    """A named curve with its style.

    points: (temperature, value) each. zero, infinity: the values in the limits of temperature 0 and infinity.
    """

    name: str
    style: str
    points: Sequence[Point]
    zero: float
    infinity: float


@dataclass(frozen=True)
class TrainedPoint:
    """The result of a training at a temperature, with an interval where there is one."""

    temperature: float
    value: float
    low: float | None = None
    high: float | None = None


def between_limits(title: str, curves: Sequence[Curve], marked: float, ends: tuple[str, str]) -> Markup:
    """Draw curves in per cent, with their limits as hollow dots and a mark at one temperature.

    marked: the temperature to mark. ends: what the limits at 0 and at infinity mean.
    """
    taus = [math.log10(tau) for tau, _ in curves[0].points]
    low, high = taus[0] - _MARGIN, taus[-1] + _MARGIN
    powers = [(float(i), f"{10.0**i:g}") for i in range(math.ceil(taus[0] - 1e-9), math.floor(taus[-1] + 1e-9) + 1)]
    x = LogAxis(low, high, 1.0, ((low, "\u2192 0"), *powers, (high, "\u2192 \u221e")))
    y = Axis(0.0, 100.0, 25.0)
    paths, dots, limits = [], [], []
    for curve in curves:
        points = [(tau, 100 * value) for tau, (_, value) in zip(taus, curve.points)]
        zero, infinity = 100 * curve.zero, 100 * curve.infinity
        dashed = f"{curve.style} dashed"
        paths += [line([(low, zero), points[0]], x, y, dashed), line([points[-1], (high, infinity)], x, y, dashed)]
        paths.append(line(points, x, y, curve.style, curve.name))
        dots += [dot(0, y.at(zero), "hollow"), dot(1, y.at(infinity), "hollow")]
        limits.append(f"{curve.name}: {short(zero)}% towards 0, {short(infinity)}% towards infinity")
    place = x.at(math.log10(marked))
    mark = tag("line", x1=percent(place), x2=percent(place), y2="100%", class_="mark")
    names = [words(ends[0], 0, 1, "limit"), words(ends[1], 1, 1, "limit end")]
    names.append(words(f"{marked:g}", place, 0.04, "side"))
    return plot(title, f"{'; '.join(limits)}.", x, y, [mark, stretched(*paths), *dots, *names], X_NAME, unit="%")


def trainings(
    title: str,
    series: Mapping[str, tuple[str, Sequence[TrainedPoint]]],
    before: float | None = None,
    from_zero: bool = False,
) -> Markup:
    """Draw named series of trainings, each with its style, with intervals as bars.

    before: the value without training, drawn as a dashed line. from_zero: the axis holds zero.
    """
    trained = [point for _, points in series.values() for point in points]
    x = _temperature_axis([point.temperature for point in trained])
    bounds = [bound for point in trained for bound in (point.value, point.low, point.high) if bound is not None]
    y = Axis.over([*bounds, *([] if before is None else [before]), *([0.0] if from_zero else [])], 4)
    paths, marks = [], []
    for name, (style, points) in series.items():
        paths.append(line([(math.log10(point.temperature), point.value) for point in points], x, y, style, name))
        for point in points:
            place = x.at(math.log10(point.temperature))
            marks.append(dot(place, y.at(point.value), style))
            if point.low is not None and point.high is not None:
                ends = {"y1": percent(1 - y.at(point.low)), "y2": percent(1 - y.at(point.high))}
                marks.append(tag("line", x1=percent(place), x2=percent(place), **ends, class_="whisker"))
    if before is not None:
        level = percent(1 - y.at(before))
        marks.append(tag("line", x2="100%", y1=level, y2=level, class_="mark"))
        under = next(iter(series.values()))[1][-1].value >= before  # the series ends above the line
        marks.append(words("before", 1, y.at(before), "before under" if under else "before"))
    values = "; ".join(f"{name} {short(p.value)} at {p.temperature:g}" for name, (_, ps) in series.items() for p in ps)
    return plot(title, f"{values}.", x, y, [*marks, stretched(*paths)], X_NAME)


def plane(title: str, points: Sequence[tuple[float, Point]], before: Point, x_name: str, y_name: str) -> Markup:
    """Draw trainings (temperature, (x, y)) as dots with their temperatures, and `before` them as a hollow dot."""
    where = [point for _, point in points]
    x = Axis.over([point[0] for point in [*where, before]], 4)
    y = Axis.over([point[1] for point in [*where, before]], 4)
    trajectory = stretched(line(where, x, y, "model third"))
    descriptions = [f"before: {x_name} {short(before[0])}, {y_name} {short(before[1])}"]
    marks = [trajectory, dot(*_place(before, x, y), "hollow")]
    names = [("before", before), *((f"{tau:g}", point) for tau, point in points)]
    for name, point in names[1:]:
        descriptions.append(f"{name}: {x_name} {short(point[0])}, {y_name} {short(point[1])}")
        marks.append(dot(*_place(point, x, y), "model", descriptions[-1]))
    places = [_place(point, x, y) for _, point in names]
    for (name, _), (u, v) in zip(names, places):
        crowded = any(0 < a - u < 0.12 and abs(b - v) < 0.08 for a, b in places)
        marks.append(words(name, u, v, "side left" if crowded else "side"))
    return plot(title, f"{'; '.join(descriptions)}.", x, y, marks, x_name)


def _place(point: Point, x: Axis, y: Axis) -> Point:
    return x.at(point[0]), y.at(point[1])


def _temperature_axis(temperatures: Sequence[float]) -> LogAxis:
    """Return an axis with the temperatures themselves as ticks, except those too close to the one before."""
    taus = sorted({math.log10(tau) for tau in temperatures})
    pad = max(0.05 * (taus[-1] - taus[0]), 0.05)
    low, high = taus[0] - pad, taus[-1] + pad
    labels: list[tuple[float, str]] = []
    for tau in taus:
        if not labels or tau - labels[-1][0] > 0.09 * (high - low):
            labels.append((tau, f"{10**tau:.3g}"))
    return LogAxis(low, high, 1.0, tuple(labels))
