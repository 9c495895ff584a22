"""The errors that nearfar raises on purpose: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NearfarError(Exception):
    """The base of all errors that nearfar raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(NearfarError, ValueError):
    """The input is wrong: a file, a row, a column, a setting, a tensor's shape (exit code 2)."""

    exit_code = 2


class RunError(NearfarError, RuntimeError):
    """A run could not go on although the input looked right: disk full, loss not finite (exit code 1)."""


class Interrupted(NearfarError):
    """A run was asked to stop (Ctrl-C, SIGTERM) and wrote a checkpoint first (exit code 130)."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error text about an unknown `name`: the closest known name, then all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
