"""Inline SVG without a library: axes and marks that stretch to any width while text, dots and strokes keep their size.

Places are percentages of the plot; only paths live in an inner drawing (0 to 1000 both ways) that is stretched, with
strokes that are not. Colours are classes, so that the page's style sheet can follow light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]


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
        shown = f"{value:,.{max(0, decimals)}f}" if decimals < 5 and abs(value) < 1e7 else f"{value:.3g}"
        return shown.replace("-", "\u2212")


@dataclass(frozen=True)
class Logs(Axis):
    """A range of logarithms to base ten, with ticks that are given: (logarithm, text)."""

    named: tuple[tuple[float, str], ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        """Return each tick's place (0 to 1) and its text."""
        return [(self.at(value), text) for value, text in self.named]


def plot(
    title: str, what: str, x: Axis, y: Axis | None, marks: list[Markup], x_name: str, unit: str = "", rows: int = 0
) -> Markup:
    """Return a drawing of marks over a grid; without y, rows of a fixed height stand beside each other."""
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
    scale |= {"data_x": x_name, "data_unit": unit, **({"data_log": "yes"} if isinstance(x, Logs) else {})}
    return tag("svg", tag("title", title), tag("desc", what), *grid, *marks, class_="plot", role="img", **scale)


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return an element; an attribute's name loses the underscore that keeps it from being a word of Python."""
    named = (Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(named), Markup("").join(content))


def short(value: float) -> str:
    """Return a number in three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "\u2212")


def percent(place: float) -> str:
    """Return a place (0 to 1) as the drawing has it."""
    return f"{100 * place:.2f}%"


def line(points: Sequence[Point], x: Axis, y: Axis, look: str, name: str = "") -> Markup:
    """Return a path through points; one with a name tells its values where the pointer is."""
    places = (f"{1000 * x.at(point[0]):.1f} {1000 - 1000 * y.at(point[1]):.1f}" for point in points)
    named = {"data_name": name} if name else {}
    return tag("path", d="M" + " ".join(places), class_=f"line {look}", **named)


def stretched(*content: Markup) -> Markup:
    """Return an inner drawing, 0 to 1000 both ways, that fills the plot."""
    frame = {"viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    return tag("svg", *content, **frame, overflow="visible")


def dot(x: float, y: float, look: str, tip: str = "") -> Markup:
    """Return a dot at a place (0 to 1 both ways), which may tell something where the pointer is."""
    told = {"data_tip": tip} if tip else {}
    return tag("circle", cx=percent(x), cy=percent(1 - y), r=2 if "small" in look else 4, class_=f"dot {look}", **told)


def words(text: str, x: float, y: float, look: str) -> Markup:
    """Return words at a place (0 to 1 both ways)."""
    return tag("text", text, x=percent(x), y=percent(1 - y), class_=look)
