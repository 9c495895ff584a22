"""Where each row stands: the file, the row and the line, for the errors that name them."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from nearfar.data.tables.columns import ChunkedColumn
from nearfar.errors import InputError


@dataclass(frozen=True)
class FilePart:
    """A run of rows from one place; `reader` knows its lines, where it is a file."""

    where: str
    rows: int
    reader: Reader | None = None


@dataclass(frozen=True)
class Source:
    """The rows of one split, and the places they come from, in order."""

    table: pa.Table
    parts: list[FilePart]
    _columns: dict[tuple[str, bool, str | None], ChunkedColumn] = field(default_factory=dict, repr=False)

    def column(self, name: str, fill: str | None = None, *, flat: bool = False) -> ChunkedColumn:
        """Return a column of all rows, or with `flat` what its lists hold: the same object each time.

        So its contents are hashed once, whichever rows of it are looked at later, and in whichever role.
        """
        pieces: list[Any] = self.table.column(name).chunks
        pieces = [piece.flatten() for piece in pieces] if flat else pieces
        fill = fill if sum(piece.null_count for piece in pieces) else None
        key = (name, flat, fill)
        if key not in self._columns:
            self._columns[key] = ChunkedColumn(name, pieces, None, fill)
        return self._columns[key]

    @property
    def where(self) -> str:
        """Return the name of the file, or of the folder of several."""
        return self.parts[0].where if len(self.parts) == 1 else str(Path(self.parts[0].where).parent)

    def place(self, row: int) -> str:
        """Return the file, the row from 1 and, where there are lines, the line of a row from 0."""
        ends = list(accumulate(part.rows for part in self.parts))
        i = bisect_right(ends, row)
        part, row = self.parts[i], row - (ends[i - 1] if i else 0)
        try:
            line = part.reader.line(row) if part.reader is not None else None
        except (OSError, EOFError, ValueError, csv.Error):  # the file is no longer what was read
            line = None
        return f"{part.where}: row {row + 1}" + (f" (line {line})" if line is not None else "")


def single_file(where: str, table: pa.Table, reader: Reader | None = None) -> Source:
    """Return a table that comes from one place."""
    return Source(table, [FilePart(where, table.num_rows, reader)])


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
