"""What the reader of one file format is: a fast way to its rows, and a slow way to what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from nearfar.errors import InputError


class AgainError(Exception):
    """A reader has learnt something (a wider type, a longer row) that its first tables should have known."""


class Reader(Protocol):
    """Reads one file."""

    path: Path
    key: str  # the settings that change what is read: part of the cache's key

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables of one schema.

        Errors: AgainError when what was yielded must be thrown away and read again; anything else goes to `explain`.
        """
        ...

    def explain(self, error: Exception) -> InputError:
        """Return the error of `tables` as one that names the row, found by reading slowly."""
        ...

    def line(self, row: int) -> int | None:
        """Return the line, from 1, at which a row, from 0, starts; None where the format has no lines."""
        ...


def first_line(error: BaseException) -> str:
    """Return the start of a library's error message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
