"""What commands print for people: the tables of a report, the findings of an audit, and progress."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearfar.abilities import EXPECT
from nearfar.text.printable import printable

if TYPE_CHECKING:
    from nearfar.evaluation.report import Report


_STYLES = {"problem": "red", "notice": "yellow", "fine": "green"}  # by the level of a finding
_LEVEL_WIDTH = 9  # characters of the column of levels
_SIZES = (
    "queries",
    "documents",
    "cells",
    "training cells",
    "classes",
    "pairs",
    "dev pairs",
)  # of a task, in its protocol
_ROWS = 5  # row numbers shown for each finding


def report_table(report: Report) -> Table:
    """Return the table: metric | model [low, high] | for each baseline its value, the fusion's, the difference.

    A difference whose interval excludes zero is green and says "better", or red and says "worse".
    """
    values = report.to_json()
    table = Table(
        title=Text(printable(values["task"])),
        caption=Text(printable(_caption(values["protocol"]))),
        title_justify="left",
    )
    table.caption_justify = "left"
    table.add_column("metric")
    table.add_column(Text("model [low, high]"), justify="right")  # as Text: brackets are no markup
    baseline, fusion = values["baseline"], values["fusion"]
    several = len(baseline) > 1
    for name in baseline:
        table.add_column(Text(printable(name)), justify="right")
        if name in fusion:
            table.add_column(Text(printable(f"fusion with {name}") if several else "fusion"), justify="right")
        table.add_column(
            Text(printable(f"difference to {name}") if several else "difference [low, high]"), justify="right"
        )
    for metric, value in values["metrics"].items():
        cells: list[str | Text] = [printable(metric), _with_interval(_number(value), values["intervals"].get(metric))]
        for name in baseline:
            cells.append(_number(baseline[name].get(metric)))
            if name in fusion:
                cells.append(_number(fusion[name].get(metric)))
            cells.append(_difference(values["difference"].get(name, {}).get(metric)))
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return table


def _caption(protocol: Mapping[str, Any]) -> str:
    if "interval" not in protocol:
        return ""
    sizes = ", ".join(f"{protocol[key]:,} {key}" for key in _SIZES if key in protocol)
    interval = protocol["interval"]
    words = f"[low, high]: {interval['confidence']:.0%} interval over {protocol['clusters']:,} clusters"
    return "\n".join([f"{sizes}; {interval.get('note', words)}", *_held_out(protocol)])


def _held_out(protocol: Mapping[str, Any]) -> list[str]:
    """Return how the rows were held out, and what to expect, where the data or the positives tell."""
    notes = protocol.get("notes", {})
    split = notes.get("split", {})
    held_out = [split["held out"]] if isinstance(split, Mapping) and "held out" in split else []
    return [*held_out, *([notes[EXPECT]] if EXPECT in notes else [])]


def _number(value: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def _with_interval(text: str, interval: Mapping[str, float | None] | None, sign: bool = False) -> str:
    if interval is None or interval["low"] is None:
        return text
    return f"{text} [{_number(interval['low'], sign)}, {_number(interval['high'], sign)}]"


def _difference(difference: Mapping[str, float | None] | None) -> Text:
    if difference is None:
        return Text("-")
    text = _with_interval(_number(difference["value"], sign=True), difference, sign=True)
    low, high = difference["low"], difference["high"]
    if low is not None and low > 0:
        return Text(f"{text} better", style="green")
    if high is not None and high < 0:
        return Text(f"{text} worse ", style="red")
    return Text(f"{text}       ")  # as wide as with a verdict, so that the numbers are aligned


def show_estimate(facts: Mapping[str, Any]) -> None:
    """Print the batch and the estimate of a dry run."""
    for example in facts["batch"]:
        print(printable(json.dumps(example, ensure_ascii=False)[:400]))
    if facts.get("expect"):
        print(f"\n{printable(facts['expect'])}")
    mined = f"; mining {facts['refreshes']:,} times comes on top" if facts["refreshes"] else ""
    print(
        f"\n{facts['pairs']:,} pairs, {facts['steps']:,} steps of {facts['batch_size']:,}; about "
        f"{facts['seconds']:,.0f} s at {facts['pairs_per_second']:,.0f} pairs a second, "
        f"{facts['reading_seconds']:,.0f} s before that for reading, and {facts['memory_mb']:,.0f} MB of "
        f"memory{mined}. Nothing was trained, and nothing written but the cache."
    )


def show_results(reports: Iterable[Report], results: Mapping[str, Any]) -> None:
    """Print the reports of a run, its speed and where its files lie; `results`: the content of results.json."""
    for report in reports:
        show_report(report)
    print(
        f"{results['pairs']:,} pairs, {results['train_pairs_per_second']:,.0f} a second in training; "
        f"{results['seconds']:.0f} s in all, {results['peak_memory_mb']:,.0f} MB at most\n"
        + printable(f"model   {results['model']}\nreport  {results['run']}/report.html")
    )


def show_report(report: Report) -> None:
    """Print a report as one table for each baseline; a report without baselines is one table."""
    for name in report.baseline or [""]:
        _print_beside(report, name)
        print()


def _print_beside(report: Report, name: str) -> None:
    """Print the table of the model beside one baseline."""
    one: dict[str, Any] = {
        part: {name: getattr(report, part)[name]} if name in getattr(report, part) else {}
        for part in ("baseline", "difference", "fusion")
    }
    table = report_table(replace(report, **one))
    # No edges and no padding, so that a row with its intervals fits a terminal of 80 columns.
    table.box, table.show_edge, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, False, (0, 0)
    for column in table.columns:
        column.no_wrap = True
    if name:
        table.title = printable(f"{report.task}, beside {name}")
        table.columns[-1].justify = "left"
    if len(name) > 6:  # a model's folder
        table.columns[2].header = "other"
    Console().print(table, markup=False)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the stage of the work on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("reading") as status:
        yield lambda stage: status.update(stage)


def show_audit(audit: dict[str, Any]) -> None:
    """Print the findings, the worst first, what is fine in a line each, and the paths of the page and cleaned copy.

    audit: in the shape of the JSON of `nearfar audit`.
    """
    console = Console(highlight=False, soft_wrap=True)
    splits = ", ".join(f"{rows:,} {split}" for split, rows in audit["splits"].items())
    single = len(audit["splits"]) == 1 and audit["kind"] != "BEIR folder"
    note = "; one split, so no leaks to look for" if single else ""
    _print_wrapped(console, "", f"{audit['data']}: {audit['kind']}, {splits}{note}")
    print()
    for finding in audit["findings"]:
        _print_wrapped(console, finding["level"], f"{finding['check']}: {finding['what']}")
        if finding["examples"]:
            _print_wrapped(console, "", f"rows: {_row_names(finding['examples'])}")
        if finding["fix"]:
            _print_wrapped(console, "", f"fix: {finding['fix']}")
        print()
    for finding in audit["fine"]:
        _print_wrapped(console, "fine", f"{finding['check']}: {finding['what']}")
    fixed = audit.get("fixed")
    if fixed:
        dropped = ", ".join(f"{count:,} {what}" for what, count in fixed["dropped"].items()) or "none dropped"
        print()
        _print_wrapped(console, "cleaned", f"{fixed['kept']:,} of {fixed['rows']:,} training rows kept ({dropped})")
        print(printable(f"{'':{_LEVEL_WIDTH}}{fixed['out']}\n{'log':{_LEVEL_WIDTH}}{fixed['log']}"))
    seconds = sum(audit["seconds"].values())
    print(printable(f"\n{'page':{_LEVEL_WIDTH}}{audit['page']}  ({seconds:.0f} s)"))


def _row_names(examples: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(f"{example['split']} {example['row']}" for example in examples)
    return ", ".join(list(names)[:_ROWS])


def _print_wrapped(console: Console, level: str, text: str) -> None:
    """Print a text beside the column of levels, wrapped to the terminal; the level stands in its first line."""
    width = max(40, min(shutil.get_terminal_size().columns, 100)) - _LEVEL_WIDTH
    for i, line in enumerate(textwrap.wrap(printable(text), width, break_on_hyphens=False)):
        left = level if i == 0 else ""
        console.print(Text(f"{left:{_LEVEL_WIDTH}}", style=_STYLES.get(level, "")) + Text(line))
