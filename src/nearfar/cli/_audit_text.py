"""An audit on a terminal: a line or two for each finding, with the rows to look at, wrapped to its width."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

_LOOKS = {"problem": "red", "notice": "yellow", "fine": "green"}
_LEFT = 9  # columns of the level
_ROWS = 5  # row numbers that are shown


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is being looked at, on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("reading") as status:
        yield lambda what: status.update(what)


def show(facts: dict[str, Any]) -> None:
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
