"""A report as a table for a console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text


def table(facts: Mapping[str, Any]) -> Table:
    """Return metric | model [low, high] | for each baseline: its value, the fusion's, the difference [low, high].

    `facts` is a report as plain values, None where there is no number. A difference whose interval excludes zero is
    green and says "better", or red and says "worse".
    """
    result = Table(title=Text(facts["task"]), caption=Text(_caption(facts["protocol"])), title_justify="left")
    result.caption_justify = "left"
    result.add_column("metric")
    result.add_column(Text("model [low, high]"), justify="right")  # as Text: brackets are no markup
    baseline, fusion = facts["baseline"], facts["fusion"]
    several = len(baseline) > 1
    for name in baseline:
        result.add_column(Text(name), justify="right")
        if name in fusion:
            result.add_column(Text(f"fusion with {name}" if several else "fusion"), justify="right")
        result.add_column(Text(f"difference to {name}" if several else "difference [low, high]"), justify="right")
    for metric, value in facts["metrics"].items():
        cells: list[str | Text] = [metric, _with_interval(_number(value), facts["intervals"].get(metric))]
        for name in baseline:
            cells.append(_number(baseline[name].get(metric)))
            if name in fusion:
                cells.append(_number(fusion[name].get(metric)))
            cells.append(_difference(facts["difference"].get(name, {}).get(metric)))
        result.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return result


def _caption(told: Mapping[str, Any]) -> str:
    if "interval" not in told:
        return ""
    sizes = ", ".join(f"{told[key]:,} {key}" for key in ("queries", "documents", "pairs") if key in told)
    words = f"[low, high]: {told['interval']['confidence']:.0%} interval over {told['clusters']:,} clusters"
    return f"{sizes}; {told['interval'].get('note', words)}"


def _number(value: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def _with_interval(shown: str, interval: Mapping[str, float | None] | None, sign: bool = False) -> str:
    if interval is None or interval["low"] is None:
        return shown
    return f"{shown} [{_number(interval['low'], sign)}, {_number(interval['high'], sign)}]"


def _difference(difference: Mapping[str, float | None] | None) -> Text:
    if difference is None:
        return Text("-")
    shown = _with_interval(_number(difference["value"], sign=True), difference, sign=True)
    low, high = difference["low"], difference["high"]
    if low is not None and low > 0:
        return Text(f"{shown} better", style="green")
    if high is not None and high < 0:
        return Text(f"{shown} worse ", style="red")
    return Text(f"{shown}       ")  # as wide as a verdict, so that the numbers stay in line
