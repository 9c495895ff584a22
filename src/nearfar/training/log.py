"""The log of a run: events.jsonl, TensorBoard, the progress bar, the monitor's warnings and the speed."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nearfar.errors import InputError, RunError
from nearfar.pairs import Pairs
from nearfar.printable import printable_line
from nearfar.storage.folders import json_safe
from nearfar.storage.places import ensure_folder, explain_write_errors, write_error
from nearfar.training.batches import StepOutput
from nearfar.training.monitor import Monitor
from nearfar.training.settings import Settings


@dataclass(frozen=True)
class RunPlan:
    """What the start event of a run holds.

    first, steps: the step after which it starts (0, or a checkpoint's) and its last one; pairs: examples of the data.
    """

    steps: int
    first: int
    pairs: int
    batch_size: int
    precision: str
    threads: int
    ranks: int = 1


class RunLogger:
    """Writes the events of one run, shows its progress and monitors its vectors; open it around the training loop.

    memory: what the monitor keeps in the checkpoints. silent: of ranks other than the first, which only measure time.
    unit: what examples are called.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        plan: RunPlan,
        memory: dict[str, Any],
        *,
        quiet: bool = False,
        silent: bool = False,
        unit: str = "pairs",
    ) -> None:
        self.plan, self.monitor_every, self.silent = plan, settings.monitor_every, silent
        self.monitor = Monitor(memory)
        self.progress = ProgressBar(plan.steps, quiet=quiet or silent, unit=unit)
        self.events: EventFile | NoEvents = NoEvents()
        if not silent:
            self.events = EventFile(folder, resumed=plan.first > 0, tensorboard=settings.tensorboard)
        self.warnings: list[str] = []
        self.started = self.last_step_at = time.perf_counter()
        self.step = plan.first
        self._stack = ExitStack()

    @staticmethod
    def refuse_missing(settings: Settings) -> None:
        """Refuse event files where what writes them is missing. Errors: `InputError` with the line to type."""
        if settings.tensorboard:
            _summary_writer()

    @property
    def pairs_per_second(self) -> float:
        """Examples a second from the start to the last step so far, evaluation and all else in between included."""
        examples = (self.step - self.plan.first) * self.plan.batch_size
        return examples / max(self.last_step_at - self.started, 1e-9)

    def log_step(
        self,
        step: int,
        output: StepOutput,
        pairs: Pairs,
        gradient_norm: float,
        learning_rate: float,
        scheduled: Mapping[str, float],
    ) -> None:
        """Log a step that was made, with its gradient's norm, its learning rate and what else is scheduled."""
        self.step, self.last_step_at = step, time.perf_counter()
        if self.silent:
            return
        loss, speed = output.loss.item(), round(self.pairs_per_second, 1)
        facts = {"loss": loss, "learning_rate": learning_rate, "gradient_norm": gradient_norm, **scheduled}
        if output.objective is not None:
            facts["objective"] = output.objective.item()
        self.events.write("step", step=step, **facts, pairs_per_second=speed)
        geometry: dict[str, float] = {}
        measured = step % self.monitor_every == 0 or step in (self.plan.first + 1, self.plan.steps)
        if measured and output.queries is not None and output.keys is not None:
            geometry = self.monitor.look(output.queries, output.keys, pairs)
            self.events.write("monitor", step=step, **geometry)
            self.warn(step, self.monitor.alarm(geometry))
        self.progress.show(step, loss=loss, pairs_per_second=speed, **geometry)

    def warn(self, step: int, message: str | None) -> None:
        """Write and show a warning, if there is one and it was not shown before."""
        if message is not None and message not in self.warnings:
            self.warnings.append(message)
            self.events.write("warning", step=step, message=message)
            self.progress.print(f"warning: step {step}: {message}")

    def say(self, message: str | None) -> None:
        """Write and show a line about the run, if there is one."""
        if message is not None:
            self.events.write("said", message=message)
            if not self.silent:
                self.progress.print(message)

    def failure(
        self, step: int, loss: float, gradient_norm: float, rows: Sequence[Any], last_checkpoint: int | None
    ) -> RunError:
        """Log a step whose numbers are not finite; return the error, which names the rows and the last checkpoint."""
        problem = "the weights are no longer finite"
        if not math.isfinite(loss + gradient_norm):
            problem = f"the gradient's norm is {gradient_norm}" if math.isfinite(loss) else f"the loss is {loss}"
        checkpoint = (
            "no checkpoint was written yet"
            if last_checkpoint is None
            else f"the last good checkpoint is step {last_checkpoint}"
        )
        self.events.write("step", step=step, loss=loss, gradient_norm=gradient_norm)
        self.events.write("failure", step=step, message=problem, rows=rows)
        return RunError(
            f"step {step}: {problem}; the batch holds rows {', '.join(map(str, rows[:8]))}, ... (all in events.jsonl); "
            f"{checkpoint}; try a lower learning_rate, or training.precision=fp32"
        )

    def log(self, event: str, **facts: Any) -> None:
        """Log any other event."""
        self.events.write(event, **facts)

    def log_end(self, seconds: float) -> None:
        """Log the end of the run."""
        speed = round(self.pairs_per_second, 1)
        self.events.write("end", step=self.step, seconds=round(seconds, 3), train_pairs_per_second=speed)

    def __enter__(self) -> RunLogger:
        with ExitStack() as stack:
            stack.enter_context(self.events)
            self.events.write("start", **asdict(self.plan))
            stack.enter_context(self.progress)
            self._stack = stack.pop_all()
        self.started = self.last_step_at = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class EventFile:
    """Appends to folder/events.jsonl; numbers that are not finite become null. Errors: `RunError` for a full disk."""

    def __init__(self, folder: Path, *, resumed: bool, tensorboard: bool) -> None:
        self.path = ensure_folder(folder) / "events.jsonl"
        self._curves = folder / "tensorboard"
        self._tensorboard = _tensorboard_writer(self._curves) if tensorboard else None
        with explain_write_errors(self.path):
            self._file = self.path.open("a" if resumed else "w", encoding="utf-8", errors="backslashreplace")
        if resumed and self.path.stat().st_size:
            self._append("\n")  # a killed run may have left half a line; readers skip empty ones

    def write(self, event: str, **facts: Any) -> None:
        """Write one event and flush it, so that a crash loses none."""
        line = {"event": event, "time": round(time.time(), 3), **facts}
        try:
            text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        except ValueError:
            text = json.dumps(json_safe(line), ensure_ascii=False)
        self._append(text + "\n")
        if self._tensorboard is not None and "step" in facts:
            with explain_write_errors(self._curves):
                for name, value in (facts.get("metrics") or facts).items():
                    if isinstance(value, int | float) and name != "step":
                        self._tensorboard.add_scalar(f"{event}/{name}", value, facts["step"])

    def _append(self, text: str) -> None:
        if not self.path.exists():  # the system would take the lines, and nobody could read them
            raise RunError(f"{self.path}: was removed while the run wrote to it; train again, and leave the folder")
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise write_error(self.path, error) from error

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a line that could not be written; `write` has raised it already
            self._file.close()
        if self._tensorboard is not None:
            try:
                self._tensorboard.close()
            except OSError as problem:
                if error is None:
                    raise write_error(self._curves, problem) from problem


class NoEvents:
    """The events of every rank but the first, which writes them: nothing."""

    def write(self, event: str, **facts: Any) -> None:
        """Write nothing."""

    def __enter__(self) -> NoEvents:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard needs an extra: pip install 'nearfar[tensorboard]'") from error
    return SummaryWriter


def _tensorboard_writer(folder: Path) -> Any:
    with explain_write_errors(folder):
        return _summary_writer()(str(folder))


class ProgressBar:
    """One line: step, loss, examples a second, alignment, uniformity, time left; nothing where there is no terminal."""

    def __init__(self, steps: int, *, quiet: bool = False, unit: str = "pairs") -> None:
        self.unit = unit
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
        """Show a step with new values; values that are not given stay as they were."""
        self.facts |= facts
        formats = {"loss": "loss {:.3f}", "pairs_per_second": f"{{:,.0f}} {self.unit}/s"}
        formats |= {"online_knn": "kNN {:.3f}", "alignment": "alignment {:.2f}", "uniformity": "uniformity {:.2f}"}
        texts = [form.format(self.facts[name]) for name, form in formats.items() if name in self.facts]
        self._progress.update(self._task, completed=step, description="  ".join(texts))

    def print(self, text: str) -> None:
        """Print a line above the bar, which stays."""
        self._progress.console.print(printable_line(text), highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
