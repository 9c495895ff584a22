"""Charts over the logarithm of a temperature, as inline SVG: curves between two limits, and what trainings came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nearfar.reports.charts import Axis, Logs, Point, dot, line, percent, plot, short, stretched, tag, words

X_NAME = "temperature"
_MARGIN = 0.3  # of a power of ten, between the curves and their limits


@dataclass(frozen=True)
class Curve:
    """A named curve (temperature, value), its class of the style sheet, and what it comes to at both ends."""

    name: str
    look: str
    points: Sequence[Point]
    zero: float
    infinity: float


@dataclass(frozen=True)
class TrainedPoint:
    """What a training at a temperature came to, with an interval where there is one."""

    temperature: float
    value: float
    low: float | None = None
    high: float | None = None


def between_limits(title: str, curves: Sequence[Curve], own: float, ends: tuple[str, str]) -> Markup:
    """Draw curves in per cent with their limits as hollow dots and what they mean; mark one temperature."""
    taus = [math.log10(tau) for tau, _ in curves[0].points]
    low, high = taus[0] - _MARGIN, taus[-1] + _MARGIN
    whole = [(float(i), f"{10.0**i:g}") for i in range(math.ceil(taus[0] - 1e-9), math.floor(taus[-1] + 1e-9) + 1)]
    x = Logs(low, high, 1.0, ((low, "\u2192 0"), *whole, (high, "\u2192 \u221e")))
    y = Axis(0.0, 100.0, 25.0)
    paths, dots, told = [], [], []
    for curve in curves:
        points = [(tau, 100 * value) for tau, (_, value) in zip(taus, curve.points)]
        zero, infinity = 100 * curve.zero, 100 * curve.infinity
        dashed = f"{curve.look} dashed"
        paths += [line([(low, zero), points[0]], x, y, dashed), line([points[-1], (high, infinity)], x, y, dashed)]
        paths.append(line(points, x, y, curve.look, curve.name))
        dots += [dot(0, y.at(zero), "hollow"), dot(1, y.at(infinity), "hollow")]
        told.append(f"{curve.name}: {short(zero)}% towards 0, {short(infinity)}% towards infinity")
    place = x.at(math.log10(own))
    mark = tag("line", x1=percent(place), x2=percent(place), y2="100%", class_="mark")
    named = [words(ends[0], 0, 1, "limit"), words(ends[1], 1, 1, "limit end")]
    named.append(words(f"{own:g}", place, 0.04, "side"))
    return plot(title, f"{'; '.join(told)}.", x, y, [mark, stretched(*paths), *dots, *named], X_NAME, unit="%")


def trainings(
    title: str,
    series: Mapping[str, tuple[str, Sequence[TrainedPoint]]],
    before: float | None = None,
    from_zero: bool = False,
) -> Markup:
    """Draw what trainings came to, with intervals as bars; `before` is the value without one, as a dashed line."""
    every = [told for _, values in series.values() for told in values]
    x = _taus([told.temperature for told in every])
    bounds = [bound for told in every for bound in (told.value, told.low, told.high) if bound is not None]
    y = Axis.over([*bounds, *([] if before is None else [before]), *([0.0] if from_zero else [])], 4)
    paths, marks = [], []
    for name, (look, values) in series.items():
        paths.append(line([(math.log10(told.temperature), told.value) for told in values], x, y, look, name))
        for told in values:
            place = x.at(math.log10(told.temperature))
            marks.append(dot(place, y.at(told.value), look))
            if told.low is not None and told.high is not None:
                ends = {"y1": percent(1 - y.at(told.low)), "y2": percent(1 - y.at(told.high))}
                marks.append(tag("line", x1=percent(place), x2=percent(place), **ends, class_="whisker"))
    if before is not None:
        level = percent(1 - y.at(before))
        marks.append(tag("line", x2="100%", y1=level, y2=level, class_="mark"))
        clear = next(iter(series.values()))[1][-1].value >= before  # below the line nothing is drawn there
        marks.append(words("before", 1, y.at(before), "before under" if clear else "before"))
    what = "; ".join(f"{name} {short(t.value)} at {t.temperature:g}" for name, (_, ts) in series.items() for t in ts)
    return plot(title, f"{what}.", x, y, [*marks, stretched(*paths)], X_NAME)


def plane(title: str, points: Sequence[tuple[float, Point]], before: Point, x_name: str, y_name: str) -> Markup:
    """Draw trainings as dots in a plane, each with its temperature beside it, hollow what was before them."""
    where = [place for _, place in points]
    x = Axis.over([place[0] for place in [*where, before]], 4)
    y = Axis.over([place[1] for place in [*where, before]], 4)
    way = stretched(line(where, x, y, "model third"))
    told = [f"before: {x_name} {short(before[0])}, {y_name} {short(before[1])}"]
    marks = [way, dot(*_at(before, x, y), "hollow")]
    names = [("before", before), *((f"{tau:g}", place) for tau, place in points)]
    for name, place in names[1:]:
        told.append(f"{name}: {x_name} {short(place[0])}, {y_name} {short(place[1])}")
        marks.append(dot(*_at(place, x, y), "model", told[-1]))
    spots = [_at(place, x, y) for _, place in names]
    for (name, _), (u, v) in zip(names, spots):
        crowded = any(0 < a - u < 0.12 and abs(b - v) < 0.08 for a, b in spots)
        marks.append(words(name, u, v, "side left" if crowded else "side"))
    return plot(title, f"{'; '.join(told)}.", x, y, marks, x_name)


def _at(place: Point, x: Axis, y: Axis) -> Point:
    return x.at(place[0]), y.at(place[1])


def _taus(temperatures: Sequence[float]) -> Logs:
    """Return an axis with the temperatures themselves as ticks, as far apart as their names need."""
    taus = sorted({math.log10(tau) for tau in temperatures})
    pad = max(0.05 * (taus[-1] - taus[0]), 0.05)
    low, high = taus[0] - pad, taus[-1] + pad
    named: list[tuple[float, str]] = []
    for tau in taus:
        if not named or tau - named[-1][0] > 0.09 * (high - low):
            named.append((tau, f"{10**tau:.3g}"))
    return Logs(low, high, 1.0, tuple(named))
