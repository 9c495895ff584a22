"""A comparison of runs on the terminal: a sentence, a table, the rows and the settings that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from nearfar.figures import ROWS, bounds, counted, mapping, number, title
from nearfar.printable import printable_line
from nearfar.reports.tables import STYLES, TEXT_WIDTH, TableColumn, difference_cell, fitting_tables, wrapped

_ROWS = 3  # wins and losses that are listed
_WIDTH = 60  # characters of a row's text, and of a setting


def show_comparison(facts: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a comparison, given in the shape of `comparison.comparison`, on standard output by default."""
    console = console or Console(highlight=False)
    names = [run["name"] for run in facts["runs"]]
    for task in facts["tasks"]:
        _show_task(task, names, console)
        console.print()
    if facts["settings"]:
        for table in _setting_tables(facts["settings"], names, console):
            console.print(table, markup=False)
            console.print()
    else:
        _print(console, "No setting of the recipes differs.")
    for note in facts["notes"]:
        _print(console, note)


def _show_task(task: Mapping[str, Any], names: Sequence[str], console: Console) -> None:
    _print(console, ": ".join(part for part in (task["label"], task["sizes"]) if part))
    for sentence in task["sentences"]:
        _print(console, sentence["text"], f"bold {STYLES.get(sentence['outcome'], '')}".rstrip())
    metrics = list(next(iter(task["metrics"].values())))
    heading = TableColumn("metric", [Text(printable_line(name)) for name in metrics])
    for table in fitting_tables(heading, _columns(task, names, metrics), console):
        console.print()
        console.print(table, markup=False)
    for note in task["notes"]:
        _print(console, note)
    for run, found in task["rows"].items():
        console.print()
        for line in _row_lines(task, run, found):
            console.print(line, overflow="ellipsis", no_wrap=True)


def _columns(task: Mapping[str, Any], names: Sequence[str], metrics: Sequence[str]) -> Iterator[list[TableColumn]]:
    """Yield the columns that stay together: the first run's; another's with its difference; a baseline's."""
    first, *others = (name for name in names if name in task["metrics"])
    own = [_value(task["metrics"][first][one], task["intervals"][first].get(one)) for one in metrics]
    yield [TableColumn(f"{printable_line(first)} [low, high]", own)]
    for name in others:
        values = [Text(number(task["metrics"][name][one])) for one in metrics]
        gaps = [difference_cell(task["difference"][name].get(one)) for one in metrics]
        yield [TableColumn(printable_line(name), values, broken=True), TableColumn("difference [low, high]", gaps)]
    for name, values in task["baseline"].items():
        cells = [Text(number(values.get(one))) for one in metrics]
        yield [TableColumn(printable_line(task["labels"][name]), cells, broken=True)]


def _value(value: float | None, interval: Any) -> Text:
    return Text(f"{number(value)} {bounds(interval)}".rstrip())


def _row_lines(task: Mapping[str, Any], run: str, found: Mapping[str, Any]) -> Iterator[Text]:
    """Yield how many rows went better and worse in a run, and those that differ most."""
    what = next((word for word, kind in zip(ROWS, ("retrieval", "labels")) if kind == task["kind"]), "pairs")
    yield Text(
        printable_line(
            f"{run}, by {title(found['metric'])}: {counted(found['better'], what)} better, {found['worse']:,} worse, "
            f"{found['equal']:,} equal"
        )
    )
    for kind in ("wins", "losses"):
        style = STYLES["better" if kind == "wins" else "worse"]
        for row in found[kind][:_ROWS]:
            gap = Text(f"  {number(row['difference'], sign=True):>7}  ", style=style)
            yield gap + Text(_ranks(mapping(row.get("rank")))) + Text(_cut(row["text"] or f"row {row['row']:,}"))


def _ranks(rank: Mapping[str, int | None]) -> str:
    """Return the ranks of the first relevant document, in the order of the two runs: "rank 9 to 1"."""
    if not rank:
        return ""
    shown = ["none" if one is None else f"{one:,}" for one in rank.values()]
    return f"{'rank ' + ' to '.join(shown):<18}  "


def _setting_tables(settings: Sequence[Mapping[str, Any]], names: Sequence[str], console: Console) -> Any:
    heading = TableColumn("setting that differs", [Text(_cut(one["setting"])) for one in settings])
    groups = [
        [TableColumn(printable_line(name), [Text(setting_text(one["values"], name)) for one in settings])]
        for name in names
    ]
    return fitting_tables(heading, groups, console)


def setting_text(values: Mapping[str, Any], run: str) -> str:
    """Return a run's value of a setting, as a line; "-" where it has none."""
    if run not in values:
        return "-"
    value = values[run]
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    line = printable_line(" ".join(text.split()))
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _print(console: Console, text: str, style: str = "") -> None:
    for line in wrapped(text, min(console.width, TEXT_WIDTH)):
        console.print(Text(line, style=style), markup=False)
