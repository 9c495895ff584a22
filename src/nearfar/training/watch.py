"""The watch over a run: what is written, shown and warned of, and how fast it goes."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from nearfar.pairs import Pairs
from nearfar.training.events import Events
from nearfar.training.monitor import Monitor
from nearfar.training.progress import Bar
from nearfar.training.settings import Settings
from nearfar.training.step import Outcome


class Watch:
    """Events, progress bar and monitor of one run; open it around the loop."""

    def __init__(
        self, folder: Path, settings: Settings, steps: int, first: int, pairs: int, batch_size: int, precision: str, *, quiet: bool
    ) -> None:
        self.settings, self.steps, self.first, self.batch_size = settings, steps, first, batch_size
        self.events = Events(folder, resumed=first > 0, tensorboard=settings.tensorboard)
        self.bar = Bar(steps, quiet=quiet)
        self.monitor = Monitor()
        self.metrics: dict[str, float] = {}
        self.warnings: list[str] = []
        self.began = self.done = time.perf_counter()
        self.step = first
        self._stack = ExitStack()
        self._start = {"steps": steps, "first": first, "pairs": pairs, "batch_size": batch_size, "precision": precision}

    @property
    def pairs_per_second(self) -> float:
        """Examples a second between the first step and the last, with all that happened in between."""
        return (self.step - self.first) * self.batch_size / max(self.done - self.began, 1e-9)

    def stepped(self, step: int, outcome: Outcome, pairs: Pairs, norm: float, rate: float) -> None:
        """Note a step that was made."""
        self.step, self.done = step, time.perf_counter()
        loss, speed = outcome.loss.item(), self.pairs_per_second
        self.events.write("step", step=step, loss=loss, learning_rate=rate, gradient_norm=norm, pairs_per_second=round(speed, 1))
        facts: dict[str, float] = {}
        if step % self.settings.monitor_every == 0 or step in (self.first + 1, self.steps):
            facts = self.monitor.look(outcome.queries, outcome.keys, pairs)
            self.events.write("monitor", step=step, **facts)
            self.warn(step, self.monitor.alarm(facts))
        self.bar.show(step, loss=loss, pairs_per_second=speed, **facts)

    def warn(self, step: int, message: str | None) -> None:
        """Write and show a warning, if there is one."""
        if message is not None:
            self.warnings.append(message)
            self.events.write("warning", step=step, message=message)
            self.bar.say(f"warning: step {step}: {message}")

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """Note an evaluation."""
        self.metrics = metrics
        self.events.write("evaluate", step=step, metrics=metrics)

    def note(self, event: str, **facts: Any) -> None:
        """Write any other event."""
        self.events.write(event, **facts)

    def ended(self, seconds: float) -> None:
        """Note the end of the run; the loss is the last step's."""
        speed = self.pairs_per_second if math.isfinite(self.pairs_per_second) else None
        self.events.write("end", step=self.step, seconds=round(seconds, 3), train_pairs_per_second=speed)

    def __enter__(self) -> Watch:
        self._stack.enter_context(self.events)
        self._stack.enter_context(self.bar)
        self.events.write("start", **self._start)
        self.began = self.done = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
