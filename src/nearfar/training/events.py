"""What happened in a run, one JSON object a line: events.jsonl, and TensorBoard's files if asked for."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from nearfar.errors import InputError
from nearfar.folders import made, writing


class Events:
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

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a line that could not be written, and `write` has said so
            self._file.close()
        if self._board is not None:
            self._board.close()


class Silence:
    """Events of a rank that does not write: rank 0 does."""

    def write(self, event: str, **facts: Any) -> None:
        """Write nothing."""

    def __enter__(self) -> Silence:
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
