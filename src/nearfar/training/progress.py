"""The progress of a run, for people, on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """One line: step, loss, pairs a second, alignment, uniformity, time left; silent where there is no terminal."""

    def __init__(self, steps: int, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self.facts: dict[str, Any] = {}
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._progress.add_task("", total=steps)

    def show(self, step: int, **facts: Any) -> None:
        """Show a step's facts; the last known ones of the others stay."""
        self.facts |= facts
        shown = {"loss": "loss {:.3f}", "pairs_per_second": "{:,.0f} pairs/s"}
        shown |= {"alignment": "alignment {:.2f}", "uniformity": "uniformity {:.2f}"}
        texts = [form.format(self.facts[name]) for name, form in shown.items() if name in self.facts]
        self._progress.update(self._task, completed=step, description="  ".join(texts))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
