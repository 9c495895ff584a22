"""A map of points as inline SVG: marks by group, and thin lines between those that belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nearfar.reports.charts import Axis, Point, dot, line, percent, plot, stretched
from nearfar.reports.sheets import PictureTile, apart

_THUMBNAIL = 0.042, 0.082  # of the width and height of a map: its size, and a gap
COLOURS = 8  # groups with a colour of their own; further ones are grey


@dataclass(frozen=True)
class LegendEntry:
    """A group of points in the legend: its style, its name and how many points it has."""

    style: str
    name: str
    size: int


def grouped(names: Sequence[str], group: Sequence[int]) -> tuple[list[LegendEntry], list[str]]:
    """Return the groups that a legend shows, the largest first where there are many, and each point's style.

    names: of all groups. group: that of each point. What is beyond eight groups is one grey group of the rest.
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
    pictures: Sequence[PictureTile | None] | None = None,
    centres: Sequence[tuple[str, str, float, float]] = (),
) -> Markup:
    """Draw points, each with its style and tip; a thin line joins the two points of a pair, by number.

    pictures: of each point, which its tip shows; None of one that is no picture. centres: of groups, the style, tip and
    place of each, which are drawn larger and joined.
    """
    x, y = _axes(points)
    joins = [line([points[i], points[j]], x, y, "join") for i, j in pairs]
    data = [{"data_sprite": one.style, "data_at": one.at} if one else {} for one in pictures or [None] * len(points)]
    dots = [
        dot(x.at(u), y.at(v), f"point {style}", tip or ("a picture" if more else ""), **more)
        for (u, v), style, tip, more in zip(points, styles, tips, data)
    ]
    between = [line([(u, v) for *_, u, v in centres], x, y, "between")] if centres else []
    middles = [dot(x.at(u), y.at(v), f"centre {style}", tip) for style, tip, u, v in centres]
    return plot(title, description, x, y, [stretched(*joins), *dots, stretched(*between), *middles], "first axis")


def centres(
    names: Sequence[str], points: Sequence[Point], group: Sequence[int], styles: Sequence[str]
) -> list[tuple[str, str, float, float]]:
    """Return the centre of each group of points as `scatter` draws it: style, tip, and place."""
    found = []
    for number in sorted(set(group)):
        own = [i for i, one in enumerate(group) if one == number]
        u, v = (sum(points[i][axis] for i in own) / len(own) for axis in (0, 1))
        found.append((styles[own[0]], f"centre of the {names[number][:60]}", u, v))
    return found


def pictured(points: Sequence[Point]) -> list[tuple[int, str, str]]:
    """Return the points that have a thumbnail on a map, so that none covers another: number, left and top of each."""
    x, y = _axes(points)
    places = [(x.at(u), 1 - y.at(v)) for u, v in points]
    return [(i, percent(places[i][0]), percent(places[i][1])) for i in apart(places, *_THUMBNAIL)]


def _axes(points: Sequence[Point]) -> tuple[Axis, Axis]:
    return Axis.over((p[0] for p in points), 8), Axis.over((p[1] for p in points), 8)
