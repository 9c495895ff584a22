"""The errors that nearfar raises on purpose: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MOST_LISTED = 40  # names in an error text
_LONGEST = 60  # characters of a name in it
_MOST_COMPARED = 5000  # names among which the closest is looked for


class NearfarError(Exception):
    """The base of all errors that nearfar raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(NearfarError, ValueError):
    """The input is wrong: a file, a row, a column, a setting, a tensor's shape (exit code 2)."""

    exit_code = 2


class NoVectorError(InputError):
    """A cell that a model cannot place: all its features are zero, or no numbers. row: from 0. where: it was met."""

    def __init__(self, row: int, why: str, where: str = "embed") -> None:
        super().__init__(f"{where}: row {row + 1} {why}")
        self.row, self.why = row, why


class RunError(NearfarError, RuntimeError):
    """A run could not go on although the input looked right: disk full, loss not finite (exit code 1)."""


class ChangedMeanwhileError(RunError):
    """What was being read was changed by another process or thread: it is to be read again (exit code 1)."""


class Interrupted(NearfarError):
    """A run was asked to stop (Ctrl-C, SIGTERM) and wrote a checkpoint first (exit code 130)."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error text about an unknown `name`: the closest known name, then all known names."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name[:_LONGEST], names[:_MOST_COMPARED], n=1, cutoff=0.5)
    hint = f"did you mean {close[0][:_LONGEST]!r}? " if close else ""
    return f"{hint}known: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Return names for an error text: the first of many, the beginning of long ones, "none" where there are none."""
    left = len(names) - _MOST_LISTED
    more = f" and {left:,} more" if left > 0 else ""
    visible = (name if name.strip() else repr(name) for name in names[:_MOST_LISTED])
    shown = (name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..." for name in visible)
    return ", ".join(shown) + more if names else "none"
