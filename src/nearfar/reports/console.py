"""What commands print for people: the reports of a run, the findings of an audit, and progress."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from nearfar.figures import counted, number, title
from nearfar.printable import printable, show
from nearfar.reports.searched import searched
from nearfar.reports.tables import searched_tables, show_tables, show_verdict

if TYPE_CHECKING:
    from nearfar.evaluation.report import Report


_STYLES = {"problem": "red", "notice": "yellow", "fine": "green"}  # by the level of a finding
_LEVEL_WIDTH = 9  # characters of the column of levels
_ROWS = 5  # row numbers shown for each finding


def show_estimate(facts: Mapping[str, Any]) -> None:
    """Print the batch and the estimate of a dry run."""
    for example in facts["batch"]:
        show(json.dumps(example, ensure_ascii=False)[:400])
    for name, note in facts["notes"].items():
        show(f"{name}: {note}")
    mined = f"; mining {facts['refreshes']:,} times comes on top" if facts["refreshes"] else ""
    unit = facts.get("unit", "pairs")
    show(
        "",
        f"{facts['pairs']:,} {unit}, {facts['steps']:,} steps of {facts['batch_size']:,}; about "
        f"{facts['seconds']:,.0f} s at {facts['pairs_per_second']:,.0f} {unit} a second, "
        f"{facts['reading_seconds']:,.0f} s before that for reading, and {facts['memory_mb']:,.0f} MB of "
        f"memory{mined}. Nothing was trained, and nothing written but the cache.",
    )


def show_results(reports: Iterable[Report], results: Mapping[str, Any]) -> None:
    """Print the reports of a run, its speed and where its files lie; `results`: the content of results.json."""
    for report in reports:
        show_report(report)
    show(
        f"{results['pairs']:,} {results.get('unit', 'pairs')}, "
        f"{results['train_pairs_per_second']:,.0f} a second in training; "
        f"{results['seconds']:.0f} s in all, {results['peak_memory_mb']:,.0f} MB at most",
        *([results["decisions"]] if "decisions" in results else []),
        *_online(results.get("online")),
        f"model   {results['model']}",
        f"report  {results['run']}/report.html",
    )


def show_searched(reports: Mapping[str, Report]) -> None:
    """Print what a search comes to, where reports have one: all splits in one table, then the verdict on each."""
    console = Console(highlight=False)
    found = {name: report.search.to_json() for name, report in reports.items() if report.search is not None}
    if (first := searched(found)) is None:
        return
    for table in searched_tables(first, console):
        console.print(table, markup=False)
        console.print()
    for report in found.values():
        show_verdict(report, console)
        console.print()


def _online(online: Mapping[str, float] | None) -> Iterator[str]:
    """Yield the last kNN while training, in a line, where there is one."""
    if online:
        metric = next(iter(online))
        kept = f"{online['queries']:,} pictures"
        yield f"{title(metric)} {number(online[metric])} while training, on {kept} kept back from it"


def show_report(report: Report, console: Console | None = None) -> None:
    """Print what is judged, the verdict, and the tables beside the baselines, on standard output by default."""
    show_tables(report.to_json(), console or Console(highlight=False))
    show("")


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
    show("")
    for finding in audit["findings"]:
        _print_wrapped(console, finding["level"], f"{finding['check']}: {finding['what']}")
        if finding["examples"]:
            _print_wrapped(console, "", f"rows: {_row_names(finding['examples'])}")
        if finding["fix"]:
            _print_wrapped(console, "", f"fix: {finding['fix']}")
        show("")
    for finding in audit["fine"]:
        _print_wrapped(console, "fine", f"{finding['check']}: {finding['what']}")
    fixed = audit.get("fixed")
    if fixed:
        dropped = ", ".join(f"{count:,} {what}" for what, count in fixed["dropped"].items()) or "none dropped"
        show("")
        _print_wrapped(console, "cleaned", f"{fixed['kept']:,} of {fixed['rows']:,} training rows kept ({dropped})")
        show(f"{'':{_LEVEL_WIDTH}}{fixed['out']}", f"{'log':{_LEVEL_WIDTH}}{fixed['log']}")
    if "review" in audit:
        show("")
        _print_wrapped(
            console,
            "review",
            f"{counted(audit['to_review'], 'pairs')} to decide on: nearfar serve --review {audit['review']}",
        )
    seconds = sum(audit["seconds"].values())
    show("", f"{'page':{_LEVEL_WIDTH}}{audit['page']}  ({seconds:.0f} s)")


def _row_names(examples: list[dict[str, Any]]) -> str:
    """Return the rows of examples; pictures by their paths, a copy with what it is like."""
    return ", ".join(list(dict.fromkeys(map(_row_name, examples)))[:_ROWS])


def _row_name(example: dict[str, Any]) -> str:
    if "file" in example:
        return str(example["file"])
    if "of" in example:
        return f"{example['text']} like {example['of']['text']}"
    return f"{example['split']} {example['row']}"


def _print_wrapped(console: Console, level: str, text: str) -> None:
    """Print a text beside the column of levels, wrapped to the terminal; the level stands in its first line."""
    width = max(40, min(shutil.get_terminal_size().columns, 100)) - _LEVEL_WIDTH
    for i, line in enumerate(textwrap.wrap(printable(text), width, break_on_hyphens=False)):
        left = level if i == 0 else ""
        console.print(Text(f"{left:{_LEVEL_WIDTH}}", style=_STYLES.get(level, "")) + Text(line))
