"""A report on a terminal: a table for each baseline, 79 columns wide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich import box
from rich.console import Console

from nearfar.evaluation.report import Report


def show(report: Report) -> None:
    """Print a report's numbers, beside one baseline after the other."""
    for name in report.baseline or [""]:
        _print(report, name)
        print()


def _print(report: Report, name: str) -> None:
    kept: dict[str, Any] = {
        part: {name: getattr(report, part)[name]} if name in getattr(report, part) else {}
        for part in ("baseline", "difference", "fusion")
    }
    table = replace(report, **kept).table()
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
