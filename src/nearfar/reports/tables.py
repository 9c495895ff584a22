"""A report on the terminal: the verdict first, then tables that wrap by column, so that no number is cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearfar.abilities import EXPECT
from nearfar.evaluation.texts_alone import COUNTED_IN
from nearfar.evaluation.verdict import GEOMETRY, in_order
from nearfar.figures import (
    NO_CLASSES,
    SYSTEM,
    bounds,
    counted,
    difference,
    finite,
    label_of,
    mapping,
    number,
    outcome,
    pair_of,
    short,
    title,
)
from nearfar.printable import printable, printable_line
from nearfar.reports.searched import Searched
from nearfar.text.same_text import ANSWERS_ELSEWHERE, NOT_RANKED

NAME_WIDTH = 13  # of a word of a baseline's name above its numbers; a longer one, such as a path, is broken
CLASSES = 20  # that a table shows; of more the lowest
CLASS_WIDTH = 40  # characters of a class's name
TEXT_WIDTH = 100  # of lines of text at most
STYLES = {"better": "green", "worse": "red"}  # of what an interval has decided
_WORDS = {"better": "better", "worse": "worse ", "undecided": "      ", "unknown": "      "}  # of one width


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: its title, its cells from above, and whether the title is broken into its words."""

    title: str
    cells: Sequence[Text]
    broken: bool = False

    @property
    def header(self) -> Text:
        """The title, in lines."""
        if not self.broken:
            return Text(self.title)
        words = textwrap.wrap(self.title, 1, break_long_words=False)  # at hyphens, too
        return Text("\n".join(textwrap.wrap(self.title, min(NAME_WIDTH, max(map(len, words), default=1)))))


def show_tables(report: Mapping[str, Any], console: Console) -> None:
    """Print a report, given as its JSON: what is judged, the verdict, what to try, the tables, what intervals mean."""
    show_verdict(report, console)
    for table in tables(report, console):
        console.print()
        console.print(table, markup=False)
    for table in class_tables(report, console):
        console.print()
        console.print(table, markup=False)
    for line in (*_notes(report["intervals"], report["protocol"]), *_hits(report["metrics"], report["protocol"])):
        for part in wrapped(line, min(console.width, TEXT_WIDTH)):
            console.print(Text(part))


def show_verdict(report: Mapping[str, Any], console: Console) -> None:
    """Print what is judged, the verdict and what to try."""
    verdict, width = report["verdict"], min(console.width, TEXT_WIDTH)
    heading = ": ".join(part for part in (report["task"], verdict["sizes"]) if part)
    for line in wrapped(heading, width):
        console.print(Text(line))
    for line in wrapped(verdict["sentence"], width):
        console.print(Text(line, style=f"bold {STYLES.get(verdict['outcome'], '')}".rstrip()))
    for line in wrapped(verdict["advice"], width):
        console.print(Text(line))


def tables(report: Mapping[str, Any], console: Console) -> list[Table]:
    """Return the columns of a report as tables that fit the console, one below the other, each with the metrics.

    A baseline's value and the difference to it stay together. Where even they do not fit, cells take several lines.
    """
    metrics = [*in_order(report["metrics"]), *(name for name in GEOMETRY if name in report["metrics"])]
    names = TableColumn("metric", [Text(printable_line(name)) for name in metrics])
    return fitting_tables(names, _groups(report, metrics), console)


def class_tables(report: Mapping[str, Any], console: Console) -> list[Table]:
    """Return the values of each class as tables that fit the console; of many classes the lowest by the first metric.

    None where there are no classes, or one alone.
    """
    found = report.get("by_class") or {}
    metrics = in_order(found.get("values", {}))
    if not metrics or len(found["classes"]) < 2:
        return []
    order = list(range(len(found["classes"])))
    heading = "class"
    if len(order) > CLASSES:
        order = sorted(order, key=lambda i: (found["values"][metrics[0]][i], i))[:CLASSES]
        heading = f"class, {CLASSES} lowest of {len(found['classes'])}"
    names = TableColumn(heading, [Text(printable_line(found["classes"][i])[:CLASS_WIDTH]) for i in order], broken=True)
    cells = [TableColumn("cells", [Text(f"{found['cells'][i]:,}") for i in order])]
    columns = [[TableColumn(name, [Text(number(found["values"][name][i])) for i in order])] for name in metrics]
    return fitting_tables(names, [cells, *columns], console)


def fitting_tables(names: TableColumn, groups: Iterable[Sequence[TableColumn]], console: Console) -> list[Table]:
    """Return groups of columns, each of which stays together, as tables that fit the console, each with the names."""
    fitting: list[list[TableColumn]] = []
    for group in groups:
        last = fitting[-1] if fitting else []
        whole = console.measure(_table([names, *last, *group]), options=console.options.update(width=10_000)).maximum
        if last and whole <= console.width:
            last.extend(group)
        else:
            fitting.append(list(group))
    return [_table([names, *columns], whole=i == 0) for i, columns in enumerate(fitting)]


def searched_tables(found: Searched, console: Console) -> list[Table]:
    """Return the first table of a search, or several where one would be too wide: a row for each split.

    The difference is that to the first of the others; those to all of them stand in the report of each split.
    """
    names = TableColumn(title(found.metric), [Text(printable_line(row.split)) for row in found.splits])
    own = [Text(f"{number(row.value)} {bounds(row.interval)}".rstrip(), style="bold") for row in found.splits]
    groups = [[TableColumn("search [low, high]", own)]]
    for i, label in enumerate(found.labels):
        theirs, gaps = zip(*(row.others[i] for row in found.splits), strict=True)
        groups.append([TableColumn(printable_line(label), [Text(number(value)) for value in theirs], broken=True)])
        if i == 0:
            groups[0] += groups.pop()
            groups[0].append(TableColumn("difference [low, high]", [difference_cell(gap or None) for gap in gaps]))
    return fitting_tables(names, groups, console)


def _groups(report: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[list[TableColumn]]:
    """Yield the columns that stay together: the model's; for each baseline its value and the difference; fusions."""
    values, intervals, protocol = report["metrics"], report["intervals"], report["protocol"]
    own = [Text(f"{number(finite(values[name]))} {bounds(intervals.get(name))}".rstrip()) for name in metrics]
    yield [TableColumn(f"{protocol.get(SYSTEM, 'model')} [low, high]", own)]
    for name, theirs in report["baseline"].items():
        label = printable_line(label_of(name, protocol))
        gaps = report["difference"].get(name, {})
        beside = "difference [low, high]"
        yield [
            TableColumn(label, [Text(number(finite(theirs.get(metric)))) for metric in metrics], broken=True),
            TableColumn(beside, [difference_cell(gaps.get(metric)) for metric in metrics]),
        ]
        if name in report["fusion"]:
            fused = [Text(number(finite(report["fusion"][name].get(metric)))) for metric in metrics]
            yield [TableColumn(f"fusion with {label}", fused, broken=True)]


def _table(columns: Sequence[TableColumn], *, whole: bool = True) -> Table:
    """Return the columns as a table. whole: also with what none of them has a value of."""
    # No edges and no padding, so that a row with its intervals fits a terminal of 80 columns.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0))
    for i, column in enumerate(columns):
        table.add_column(column.header, justify="right" if i else "left", overflow="fold")
    for name, *cells in zip(*(column.cells for column in columns), strict=True):
        if whole or any(cell.plain != "-" for cell in cells):
            table.add_row(name, *cells)
    return table


def difference_cell(gap: Mapping[str, Any] | None) -> Text:
    """Return a difference with its interval, and in colour and in a word what it decides."""
    if gap is None:
        return Text("-")
    found = outcome(gap)
    return Text(f"{difference(gap)} {_WORDS[found]}", style=STYLES.get(found, ""))


def _notes(intervals: Mapping[str, Any], protocol: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the intervals are, or why there are none, how rows were parted, and who cannot read the texts."""
    about = protocol.get("interval")
    if isinstance(about, Mapping) and any(pair_of(interval) for interval in intervals.values()):
        over = f" over {counted(protocol['clusters'], 'clusters')}" if "clusters" in protocol else ""
        yield f"[low, high]: {about['confidence']:.0%} interval{over}"
    if isinstance(why := protocol.get("intervals"), str):
        yield f"no intervals: {why}"
    if isinstance(why := protocol.get(NO_CLASSES), str):
        yield why
    notes = protocol.get("notes", {})
    yield from (f"{notes[what]:,} {what}" for what in (NOT_RANKED, ANSWERS_ELSEWHERE) if notes.get(what))
    split = notes.get("split", {})
    if isinstance(split, Mapping):
        lines = {"splits": f"split {split.get('splits')}", "held out": split.get("held out")}
        yield from (str(line) for name, line in lines.items() if name in split)
    if COUNTED_IN in notes:
        yield f"{COUNTED_IN} {notes[COUNTED_IN]}"
    if EXPECT in notes:
        yield f"{EXPECT}: {notes[EXPECT]}"
    for name, why in protocol.get("cannot read", {}).items():
        yield f"{label_of(name, protocol)}: {why}"


def _hits(metrics: Mapping[str, Any], protocol: Mapping[str, Any]) -> Iterator[str]:
    """Yield which of two figures is which, where queries have several relevant documents, as pictures have captions."""
    mean = finite(mapping(protocol.get("relevant documents of a query")).get("mean"))
    if mean is not None and mean > 1 and any(name.startswith("hit_rate@") for name in metrics):
        yield (
            f"a query has {short(mean)} relevant documents on average: hit_rate@k is whether any of them is among the "
            "k best (R@k of papers on captions), recall@k the share of them that is"
        )


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of so many characters, without control characters."""
    return textwrap.wrap(printable(text), width, break_on_hyphens=False)
