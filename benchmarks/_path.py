"""The ways of trainings through the plane of uniformity and alignment, as one SVG without a style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from nearfar.reports.charts import Axis

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 74, 30, 52, 62
COLOURS = ("#b4541a", "#1a5fb4", "#2a7d46")
STYLE = "font-family:system-ui,sans-serif;font-size:13px;fill:#333"


def drawn(ways: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a drawing of named ways: a point a look (uniformity, alignment, spearman, step)."""
    every = [point for way in ways.values() for point in way]
    x = Axis.over([float(p["uniformity"]) for p in every] + [0.0])
    y = Axis.over([float(p["alignment"]) for p in every] + [0.0])
    inside = [*_grid(x, y)]
    highest = max(ways, key=lambda name: float(ways[name][-1]["alignment"]))
    for colour, (name, way) in zip(COLOURS, ways.items()):
        inside += _way(name, way, colour, x, y)
        # Above the highest end and left of the others: there no way comes from or goes to.
        inside += _name(
            name, way[0], way[-1], colour, _at(x, y, way[-1]["uniformity"], way[-1]["alignment"]), name == highest
        )
    told = "; ".join(f"{name}: {_said(way[0])} to {_said(way[-1])}" for name, way in ways.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" style="{STYLE}">\n<title>Alignment and uniformity while training</title>\n'
        f'<desc>{escape(told)}</desc>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(inside)
        + "\n</svg>\n"
    )


def _said(point: Mapping[str, Any]) -> str:
    return f"uniformity {point['uniformity']:.2f}, alignment {point['alignment']:.2f}"


def _at(x: Axis, y: Axis, u: float, v: float) -> tuple[float, float]:
    """Return the place of a point of the plane in the drawing."""
    return LEFT + x.at(u) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y.at(v) * (HEIGHT - TOP - BOTTOM)


def _text(text: str, x: float, y: float, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _grid(x: Axis, y: Axis) -> list[str]:
    """Return lines and numbers of both axes, their names, and where it is better."""
    found, faint = [], ' fill="#777"'
    for axis, upright in ((x, True), (y, False)):
        for place, text in axis.ticks():
            value = axis.low + place * (axis.high - axis.low)
            a = _at(x, y, value, y.low) if upright else _at(x, y, x.low, value)
            b = _at(x, y, value, y.high) if upright else _at(x, y, x.high, value)
            found.append(f'<path d="M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" stroke="#e6e6e6"/>')
            where = (a[0], a[1] + 20, "middle") if upright else (a[0] - 10, a[1] + 4, "end")
            found.append(_text(text, *where, faint))
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(_text("uniformity: lower is more even", middle, HEIGHT - 16, "middle"))
    found.append(_text("alignment: lower is nearer", 18, 26))
    low = _at(x, y, x.low, y.low)
    found.append(f'<path d="M{low[0] + 34:.0f} {low[1] - 34:.0f}l-20 20m0 -12v12h12" fill="none" stroke="#777"/>')
    found.append(_text("better", low[0] + 40, low[1] - 30, more=faint))
    return found


def _way(name: str, way: Sequence[Mapping[str, Any]], colour: str, x: Axis, y: Axis) -> list[str]:
    """Return a line with a dot a look, hollow where it starts."""
    places = [_at(x, y, p["uniformity"], p["alignment"]) for p in way]
    d = "M" + "L".join(f"{u:.1f} {v:.1f}" for u, v in places)
    found = [f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.5" opacity="0.6"/>']
    for i, ((u, v), point) in enumerate(zip(places, way)):
        end = i in (0, len(way) - 1)
        fill = "#fff" if i == 0 else colour
        tip = f"{name}, step {point['step']}: {_said(point)}, Spearman {point['spearman']:.3f}"
        found.append(
            f'<circle cx="{u:.1f}" cy="{v:.1f}" r="{5 if end else 2.5}" fill="{fill}" stroke="{colour}">'
            f"<title>{escape(tip)}</title></circle>"
        )
    return found


def _name(
    name: str, first: Mapping[str, Any], last: Mapping[str, Any], colour: str, place: tuple[float, float], above: bool
) -> list[str]:
    """Return a way's name, and what it was worth at both of its ends, beside the last: there is no way on its left."""
    x, y, anchor = (place[0] + 4, place[1] - 32, "start") if above else (place[0] - 10, place[1] + 8, "end")
    worth = f"STS-B {first['spearman']:.2f} to {last['spearman']:.2f}"
    return [
        _text(name, x, y, anchor, f' style="fill:{colour}" font-weight="600"'),
        _text(worth, x, y + 17, anchor, f' style="fill:{colour}"'),
    ]
