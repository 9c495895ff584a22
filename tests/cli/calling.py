"""What a call of nearfar gives back, and how a message to the user must look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def refused(self, *words: str, code: int = 2) -> None:
        """Check a refusal: the code, one or two lines that hold all the words, no traceback, nothing on stdout.

        Warnings of a run that had begun may come before.
        """
        assert self.code == code, f"exit code {self.code}: {self.err}"
        lines = [line for line in self.err.strip().splitlines() if not line.startswith("warning: ")]
        assert 1 <= len(lines) <= 2, self.err
        assert lines[0].startswith("nearfar: "), self.err
        assert len("\n".join(lines)) < 600, self.err
        missing = [word for word in words if word not in self.err]
        assert not missing, f"{missing} not in: {self.err}"
        assert "Traceback" not in self.err
        assert self.out == ""


class Run(Protocol):
    """Call nearfar with some words."""

    def __call__(self, *words: object, columns: int = 80) -> Done: ...
