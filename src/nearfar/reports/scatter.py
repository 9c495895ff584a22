"""A map of points as inline SVG: dots by group, and thin lines between those that belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nearfar.reports.charts import Axis, Point, dot, line, plot, stretched

COLOURS = 7  # groups with a colour of their own; further ones are grey


@dataclass(frozen=True)
class LegendEntry:
    """A group of points in the legend: its style, its name and how many points it has."""

    style: str
    name: str
    size: int


def grouped(names: Sequence[str], group: Sequence[int]) -> tuple[list[LegendEntry], list[str]]:
    """Return the groups that a legend shows, the largest first where there are many, and each point's style.

    names: of all groups. group: that of each point. What is beyond seven groups is one grey group of the rest.
    """
    counts = Counter(group)
    order = sorted(counts, key=lambda i: (-counts[i], i))[:COLOURS] if len(counts) > COLOURS else sorted(counts)
    style = {i: f"g{place}" for place, i in enumerate(order)}
    shown = [LegendEntry(style[i], names[i], counts[i]) for i in order]
    left = len(counts) - len(order)
    if left:
        rest = len(group) - sum(one.size for one in shown)
        shown.append(LegendEntry("rest", f"{left} more group{'s' if left > 1 else ''}", rest))
    return shown, [style.get(i, "rest") for i in group]


def scatter(
    title: str,
    points: Sequence[Point],
    styles: Sequence[str],
    tips: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    description: str,
) -> Markup:
    """Draw points, each with its style and tip; a thin line joins the two points of a pair, by number."""
    x, y = Axis.over((p[0] for p in points), 8), Axis.over((p[1] for p in points), 8)
    joins = [line([points[i], points[j]], x, y, "join") for i, j in pairs]
    dots = [dot(x.at(u), y.at(v), f"point {style}", tip) for (u, v), style, tip in zip(points, styles, tips)]
    return plot(title, description, x, y, [stretched(*joins), *dots], "first axis")
