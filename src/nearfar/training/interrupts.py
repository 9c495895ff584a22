"""The signals that stop a run after its step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from nearfar.compute.ranks import Ranks


class Interrupts:
    """While open, it notes the first SIGINT or SIGTERM in `caught`; a second one raises `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self._handlers: dict[int, Any] = {}  # those of before, by signal

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread handle signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.caught is not None:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name

    def on_any_rank(self, ranks: Ranks) -> str | None:
        """Return the name of a signal that any rank has caught, so that all stop after the same step."""
        number = ranks.all_reduce_max(0 if self.caught is None else signal.Signals[self.caught].value)
        return signal.Signals(number).name if number else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by no Python code
