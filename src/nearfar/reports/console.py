"""A report as a table for a console."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearfar.evaluation.report import Report

_LOOKS = {"problem": "red", "notice": "yellow", "fine": "green"}
_LEFT = 9  # columns of the level
_ROWS = 5  # row numbers that are shown


def report_table(report: Report) -> Table:
    """Return metric | model [low, high] | for each baseline: its value, the fusion's, the difference [low, high].

    A difference whose interval excludes zero is green and says "better", or red and says "worse".
    """
    facts = report.to_json()
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


def show_report(report: Report) -> None:
    """Print a report's numbers, beside one baseline after the other."""
    for name in report.baseline or [""]:
        _print(report, name)
        print()


def _print(report: Report, name: str) -> None:
    kept: dict[str, Any] = {
        part: {name: getattr(report, part)[name]} if name in getattr(report, part) else {}
        for part in ("baseline", "difference", "fusion")
    }
    table = report_table(replace(report, **kept))
    # No edges and no padding: with its intervals a line is as wide as a terminal of 80 columns.
    table.box, table.show_edge, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, False, (0, 0)
    for column in table.columns:
        column.no_wrap = True
    if name:
        table.title = f"{report.task}, beside {name}"
        table.columns[-1].justify = "left"
    if len(name) > 6:  # a model's folder
        table.columns[2].header = "other"
    Console().print(table, markup=False)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is being looked at, on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("reading") as status:
        yield lambda what: status.update(what)


def show_audit(facts: dict[str, Any]) -> None:
    """Print the findings, the worst first, what is fine in a line each, and where page and cleaned copy lie."""
    console = Console(highlight=False, soft_wrap=True)
    splits = ", ".join(f"{rows:,} {split}" for split, rows in facts["splits"].items())
    alone = len(facts["splits"]) == 1 and facts["kind"] != "BEIR folder"
    _say(console, "", f"{facts['data']}: {facts['kind']}, {splits}{'; one split, so no leaks to look for' * alone}")
    print()
    for finding in facts["findings"]:
        _say(console, finding["level"], f"{finding['check']}: {finding['what']}")
        if finding["examples"]:
            _say(console, "", f"rows: {_rows(finding['examples'])}")
        if finding["fix"]:
            _say(console, "", f"fix: {finding['fix']}")
        print()
    for told in facts["fine"]:
        _say(console, "fine", f"{told['check']}: {told['what']}")
    fixed = facts.get("fixed")
    if fixed:
        dropped = ", ".join(f"{count:,} {what}" for what, count in fixed["dropped"].items()) or "none dropped"
        print()
        _say(console, "cleaned", f"{fixed['kept']:,} of {fixed['rows']:,} training rows kept ({dropped})")
        print(f"{'':{_LEFT}}{fixed['out']}\n{'log':{_LEFT}}{fixed['log']}")
    seconds = sum(facts["seconds"].values())
    print(f"\n{'page':{_LEFT}}{facts['page']}  ({seconds:.0f} s)")


def _rows(examples: list[dict[str, Any]]) -> str:
    shown = dict.fromkeys(f"{told['split']} {told['row']}" for told in examples)
    return ", ".join(list(shown)[:_ROWS])


def _say(console: Console, level: str, text: str) -> None:
    width = max(40, min(shutil.get_terminal_size().columns, 100)) - _LEFT
    for i, line in enumerate(textwrap.wrap(text, width, break_on_hyphens=False)):
        left = level if i == 0 else ""
        console.print(Text(f"{left:{_LEFT}}", style=_LOOKS.get(level, "")) + Text(line))
