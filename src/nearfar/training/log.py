"""The logger over a run: what is written, shown and warned of, and how fast it goes."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nearfar.errors import InputError, RunError
from nearfar.pairs import Pairs
from nearfar.storage.folders import made, writing
from nearfar.training.monitor import Monitor
from nearfar.training.settings import Settings
from nearfar.training.step import Outcome


@dataclass(frozen=True)
class RunPlan:
    """What a run sets out to do: from step `first` to `steps`, over so many pairs, in batches, with what machine."""

    steps: int
    first: int
    pairs: int
    batch_size: int
    precision: str
    threads: int
    ranks: int = 1


class RunLogger:
    """Events, progress bar and monitor of one run; open it around the loop. `memory` outlives a stop of the run.

    silent: keep the time, but look at nothing, write nothing, show nothing; so do all ranks but the first.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        start: RunPlan,
        memory: dict[str, Any],
        *,
        quiet: bool = False,
        silent: bool = False,
    ) -> None:
        self.start, self.monitor_every, self.silent = start, settings.monitor_every, silent
        self.monitor = Monitor(memory)
        self.bar = ProgressBar(start.steps, quiet=quiet or silent)
        self.events: EventFile | NoEvents = NoEvents()
        if not silent:
            self.events = EventFile(folder, resumed=start.first > 0, tensorboard=settings.tensorboard)
        self.warnings: list[str] = []
        self.began = self.done = time.perf_counter()
        self.step = start.first
        self._stack = ExitStack()

    @property
    def pairs_per_second(self) -> float:
        """Examples a second between the first step and the last, with all that happened in between."""
        return (self.step - self.start.first) * self.start.batch_size / max(self.done - self.began, 1e-9)

    def stepped(self, step: int, outcome: Outcome, pairs: Pairs, norm: float, rate: float) -> None:
        """Note a step that was made, with the gradient's norm and the learning rate that it was made with."""
        self.step, self.done = step, time.perf_counter()
        if self.silent:
            return
        loss, speed = outcome.loss.item(), round(self.pairs_per_second, 1)
        facts = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "pairs_per_second": speed}
        self.events.write("step", step=step, **facts)
        looked: dict[str, float] = {}
        if step % self.monitor_every == 0 or step in (self.start.first + 1, self.start.steps):
            looked = self.monitor.look(outcome.queries, outcome.keys, pairs)
            self.events.write("monitor", step=step, **looked)
            self.warn(step, self.monitor.alarm(looked))
        self.bar.show(step, loss=loss, pairs_per_second=speed, **looked)

    def warn(self, step: int, message: str | None) -> None:
        """Write and show a warning, if there is one; each is told once."""
        if message is not None and message not in self.warnings:
            self.warnings.append(message)
            self.events.write("warning", step=step, message=message)
            self.bar.say(f"warning: step {step}: {message}")

    def failed(self, step: int, loss: float, norm: float, rows: Sequence[Any], good: int | None) -> RunError:
        """Note a step that gave numbers which are not finite; return the error, which names rows and checkpoint."""
        what = "the weights are no longer finite"
        if not math.isfinite(loss + norm):
            what = f"the gradient's norm is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
        last = "no checkpoint was written yet" if good is None else f"the last good checkpoint is step {good}"
        self.events.write("step", step=step, loss=loss, gradient_norm=norm)
        self.events.write("failure", step=step, message=what, rows=rows)
        return RunError(
            f"step {step}: {what}; the batch holds rows {', '.join(map(str, rows[:8]))}, ... (all in events.jsonl); "
            f"{last}; try a lower learning_rate, or training.precision=fp32"
        )

    def note(self, event: str, **facts: Any) -> None:
        """Write any other event."""
        self.events.write(event, **facts)

    def ended(self, seconds: float) -> None:
        """Note the end of the run."""
        speed = round(self.pairs_per_second, 1)
        self.events.write("end", step=self.step, seconds=round(seconds, 3), train_pairs_per_second=speed)

    def __enter__(self) -> RunLogger:
        with ExitStack() as stack:
            stack.enter_context(self.events)
            self.events.write("start", **asdict(self.start))
            stack.enter_context(self.bar)
            self._stack = stack.pop_all()
        self.began = self.done = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class EventFile:
    """Appends to folder/events.jsonl; numbers that are not finite become null. Errors: `RunError` if disk is full."""

    def __init__(self, folder: Path, *, resumed: bool, tensorboard: bool) -> None:
        self.path = made(folder) / "events.jsonl"
        self._board = _board(folder / "tensorboard") if tensorboard else None
        with writing(self.path):
            self._file = self.path.open("a" if resumed else "w", encoding="utf-8")
        if resumed and self.path.stat().st_size:
            self._append("\n")  # a killed run may have left half a line; an empty line is none

    def write(self, event: str, **facts: Any) -> None:
        """Write one event now: a crash loses nothing."""
        line = {"event": event, "time": round(time.time(), 3), **facts}
        self._append(json.dumps(_finite(line), ensure_ascii=False, allow_nan=False) + "\n")
        if self._board is not None and "step" in facts:
            for name, value in (facts.get("metrics") or facts).items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"{event}/{name}", value, facts["step"])

    def _append(self, text: str) -> None:
        with writing(self.path):
            self._file.write(text)
            self._file.flush()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a line that could not be written, and `write` has said so
            self._file.close()
        if self._board is not None:
            self._board.close()


class NoEvents:
    """Events of a rank that does not write: rank 0 does."""

    def write(self, event: str, **facts: Any) -> None:
        """Write nothing."""

    def __enter__(self) -> NoEvents:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard needs an extra: pip install 'nearfar[tensorboard]'") from error
    return SummaryWriter(str(folder))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


class ProgressBar:
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

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
