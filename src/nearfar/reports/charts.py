"""Charts as inline SVG (lines, a trajectory, histograms, forests), and the axes, plots and marks they are made of.

A `style` is the CSS classes of a mark, see `templates/page.css`. A place is in fractions of the plot: (0, 0) is the
lower left corner, (1, 1) the upper right one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from nearfar.figures import title as title_of
from nearfar.reports.numbers import MINUS, power, short

Point = tuple[float, float]


def lines(
    title: str,
    series: dict[str, tuple[str, Sequence[Point]]],
    x_name: str = "step",
    borders: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Draw named series, each with its style, over whole numbers. borders: named upright lines, where an epoch ends."""
    drawn = {name: (style, thin(points)) for name, (style, points) in series.items()}
    all_points = [point for _, points in drawn.values() for point in points]
    x = Axis.over([0.0, *(point[0] for point in all_points)], whole=True, tight=True)
    y = Axis.over((point[1] for point in all_points), 4)
    paths = [line(points, x, y, style, name) for name, (style, points) in drawn.items()]
    ends = [(style, points[-1]) for style, points in drawn.values() if style != "faint"]
    dots = [dot(x.at(u), y.at(v), style) for style, (u, v) in ends]
    ranges = [f"{name} from {short(p[0][1])} to {short(p[-1][1])}" for name, (_, p) in drawn.items()]
    description = f"{'; '.join(ranges)}, over {x_name} {x.low:,.0f} to {x.high:,.0f}."
    marks = []
    for place, name in ((x.at(where), name) for where, name in borders if x.low < where < x.high):
        marks += [tag("line", x1=percent(place), x2=percent(place), y2="100%", class_="border")]
        marks += [words(name, place, 1, "border")]
    return plot(title, description, x, y, [*marks, stretched(*paths), *dots], x_name)


def path(title: str, points: Sequence[tuple[float, float, float]], x_name: str, y_name: str) -> Markup:
    """Draw a trajectory of points (x, y, step), hollow at its start; an arrow points to the corner that is better."""
    most = min(60, len(points))
    points = [points[i * (len(points) - 1) // max(1, most - 1)] for i in range(most)]
    x, y = Axis.over(_padded(p[0] for p in points)), Axis.over(_padded(p[1] for p in points))
    tips = [f"step {step:,.0f}: {x_name} {short(u)}, {y_name} {short(v)}" for u, v, step in points]
    styles = ["hollow", *["small model"] * (len(points) - 2), "model"]
    dots = [dot(x.at(u), y.at(v), style, tip) for (u, v, _), style, tip in zip(points, styles, tips)]
    names = [
        words(text, x.at(p[0]), y.at(p[1]), f"name {text}") for text, p in (("start", points[0]), ("end", points[-1]))
    ]
    # The arrow is below the plot, where no trajectory crosses it.
    arrow = tag("path", d="M17 27L5 39M5 30V39H14", class_="arrow")
    better = tag("svg", arrow, tag("text", "better", x=24, y=39), y="100%", overflow="visible")
    trajectory = stretched(line([p[:2] for p in points], x, y, "thin model"))
    return plot(title, f"From {tips[0]} to {tips[-1]}.", x, y, [better, trajectory, *dots, *names], x_name)


def histogram(title: str, edges: Sequence[float], shares: dict[str, tuple[str, list[float]]], x_name: str) -> Markup:
    """Draw named distributions over the same bins as overlapping shapes; shares add up to 1 and show as per cent."""
    x = Axis.over(edges, tight=True)
    y = Axis.over([0.0, *(100 * share for _, values in shares.values() for share in values)], 4)
    bins, shapes, tips, means = list(pairwise(edges)), [], [], []
    for name, (style, values) in shares.items():
        steps = [(edge, 100 * share) for pair, share in zip(bins, values) for edge in pair]
        shapes.append(line([(edges[0], 0.0), *steps, (edges[-1], 0.0)], x, y, f"area {style}"))
        mean = sum(share * (low + high) / 2 for (low, high), share in zip(bins, values))
        means.append(f"{name}: mean about {short(mean)}")
    for i, (low, high) in enumerate(bins):
        text = ", ".join(f"{100 * values[i]:.1f}% of {name}" for name, (_, values) in shares.items())
        box = {"x": percent(x.at(low)), "width": percent(x.at(high) - x.at(low)), "height": "100%", "class_": "hit"}
        tips.append(tag("rect", **box, data_tip=f"{short(low)} to {short(high)}: {text}"))
    return plot(title, f"{'; '.join(means)}.", x, y, [stretched(*shapes), *tips], x_name, unit="%")


_NAMES = (13, 20)  # letters of a forest's names that fit into its usual margin, and into a wide one


def forest(title: str, rows: Sequence[tuple[str, float, float, float, str]], x_name: str) -> Markup:
    """Draw a dot with its interval for each row (metric, value, low, high, style), around a line at zero."""
    x = Axis.over([0.0, *(bound for row in rows for bound in row[1:4])], 4)
    rows = [(_name(metric), value, low, high, style) for metric, value, low, high, style in rows]
    tips = [f"{name}: {short(value)} [{short(low)}, {short(high)}]" for name, value, low, high, _ in rows]
    marks = [tag("line", x1=percent(x.at(0)), x2=percent(x.at(0)), y2="100%", class_="zero")]
    for i, (name, value, low, high, style) in enumerate(rows):
        height = 1 - (i + 0.5) / len(rows)
        level = {"y1": percent(1 - height), "y2": percent(1 - height)}
        marks += [
            words(name, 0, height, "row"),
            tag("line", x1=percent(x.at(low)), x2=percent(x.at(high)), **level, class_=f"whisker {style}"),
            dot(x.at(value), height, style),
            tag("line", x2="100%", **level, class_="hit", data_tip=tips[i]),
        ]
    return plot(title, f"{'; '.join(tips)}.", x, None, marks, x_name, rows=len(rows))


def width_of_names(rows: Sequence[tuple[str, float, float, float, str]]) -> str:
    """Return the page's word for how wide the names of a forest's rows are; "" for those of usual length."""
    longest = max((len(_name(metric)) for metric, *_ in rows), default=0)
    return "" if longest <= _NAMES[0] else "wide-names" if longest <= _NAMES[1] else "widest-names"


def _name(metric: str) -> str:
    return title_of(metric)[:60]


def thin(points: Sequence[Point], most: int = 400) -> list[Point]:
    """Return about `most` points: the lowest and the highest of equal stretches, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    kept: set[int] = {0, len(points) - 1}
    for i in range(stretches := most // 2 - 1):
        stretch = range(i * len(points) // stretches, (i + 1) * len(points) // stretches)
        kept |= {min(stretch, key=lambda j: points[j][1]), max(stretch, key=lambda j: points[j][1])}
    return [points[i] for i in sorted(kept)]


def smooth(points: Sequence[Point], most: int = 200) -> list[Point]:
    """Return centred moving averages over a twentieth of the points; the window shrinks at the ends, evenly."""
    total = [0.0]
    for _, y in points:
        total.append(total[-1] + y)
    reach, last = len(points) // 40, len(points) - 1
    centres = sorted({round(i * last / (most - 1)) for i in range(most)})
    windows = [(centre, min(reach, centre, last - centre)) for centre in centres]
    return [(points[i][0], (total[i + r + 1] - total[i - r]) / (2 * r + 1)) for i, r in windows]


def _padded(values: Iterable[float]) -> list[float]:
    """Return the extremes, the lower one moved out so that the end of a run does not lie in the corner."""
    low, high = min(values := list(values)), max(values)
    return [low - 0.15 * (high - low), high]


@dataclass(frozen=True)
class Axis:
    """A range of numbers with round ticks."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, values: Iterable[float], ticks: int = 5, *, whole: bool = False, tight: bool = False) -> Axis:
        """Return an axis that holds all values; `whole` ticks are integers, a `tight` axis ends at the extremes."""
        low, high = min(values := list(values)), max(values)
        if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
            low, high = low - (pad := 0.5 if whole or not low else max(1e-6, 0.1 * abs(low))), high + pad
        rough = (high - low) / ticks
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        step = max(1.0, step) if whole else step
        if not tight:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, step)

    def at(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return each tick's place (0 to 1) and its text."""
        first, last = math.ceil(self.low / self.step - 1e-6), math.floor(self.high / self.step + 1e-6)
        return [(self.at(i * self.step), self.text(i * self.step)) for i in range(first, last + 1)]

    def text(self, value: float) -> str:
        """Return a value with the decimals that tell neighbouring ticks apart."""
        decimals = -math.floor(math.log10(self.step) + 1e-9)
        if decimals < 6 and abs(value) < 1e7:
            return f"{value:,.{max(0, decimals)}f}".replace("-", MINUS)
        return power(value)


@dataclass(frozen=True)
class LogAxis(Axis):
    """A range of logarithms to base ten, with given ticks: (logarithm, text)."""

    labels: tuple[tuple[float, str], ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        """Return each tick's place (0 to 1) and its text."""
        return [(self.at(value), text) for value, text in self.labels]


def plot(
    title: str,
    description: str,
    x: Axis,
    y: Axis | None,
    marks: list[Markup],
    x_name: str,
    unit: str = "",
    rows: int = 0,
) -> Markup:
    """Return a drawing of marks over a grid; without y, it has rows of a fixed height."""
    grid = [tag("rect", width="100%", height="100%", class_="hit")]
    for place, text in y.ticks() if y else []:
        grid.append(tag("line", x2="100%", y1=percent(1 - place), y2=percent(1 - place), class_="rule"))
        grid.append(words(text + unit, 0, place, "y"))
    for place, text in x.ticks():
        if not y:
            grid.append(tag("line", x1=percent(place), x2=percent(place), y2="100%", class_="rule"))
        grid.append(words(text, place, 0, "x"))
    grid.append(words(x_name, 1, 0, "axis"))
    scale = {"data_range": f"{x.low!r} {x.high!r} {y.low!r} {y.high!r}"} if y else {"height": str(36 * rows)}
    scale |= {"data_x": x_name, "data_unit": unit, **({"data_log": "yes"} if isinstance(x, LogAxis) else {})}
    return tag("svg", tag("title", title), tag("desc", description), *grid, *marks, class_="plot", role="img", **scale)


def line(points: Sequence[Point], x: Axis, y: Axis, style: str, name: str = "") -> Markup:
    """Return a path through points; one with a name shows its values at the pointer."""
    places = (f"{1000 * x.at(point[0]):.1f} {1000 - 1000 * y.at(point[1]):.1f}" for point in points)
    data = {"data_name": name} if name else {}
    return tag("path", d="M" + " ".join(places), class_=f"line {style}", **data)


def stretched(*content: Markup) -> Markup:
    """Return an inner drawing, 0 to 1000 in both directions, that fills the plot."""
    frame = {"viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    return tag("svg", *content, **frame, overflow="visible")


def dot(x: float, y: float, style: str, tip: str = "", **data: str) -> Markup:
    """Return a mark at a place; a tip is shown when the pointer is over it, with the picture that `data` names.

    style: a square where it has that word, else a dot; a centre is larger.
    """
    data |= {"data_tip": tip} if tip else {}
    words = style.split()
    size = 2.0 if "small" in words else 9.0 if "centre" in words else 4.0
    place: dict[str, Any] = {"cx": percent(x), "cy": percent(1 - y), "r": size}
    if "square" in words:
        moved = f"translate({-0.9 * size:g} {-0.9 * size:g})"
        place = {"x": percent(x), "y": percent(1 - y), "width": 1.8 * size, "height": 1.8 * size, "transform": moved}
    return tag("rect" if "square" in words else "circle", **place, class_=f"dot {style}", **data)


def words(text: str, x: float, y: float, style: str) -> Markup:
    """Return words at a place."""
    return tag("text", text, x=percent(x), y=percent(1 - y), class_=style)


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return an element; an attribute's name loses the underscore that keeps it from being a word of Python."""
    pairs = (Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(pairs), Markup("").join(content))


def percent(fraction: float) -> str:
    """Return a fraction of the plot as a coordinate of the drawing."""
    return f"{100 * fraction:.2f}%"
