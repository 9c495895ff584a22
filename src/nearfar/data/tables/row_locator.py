"""A table that knows where each row comes from: the file, the row and the line, for the errors that name them."""

from __future__ import annotations

import csv
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from nearfar.data.tables.columns import ChunkedColumn
from nearfar.data.tables.files import Reader, line_of


@dataclass(frozen=True)
class RowOrigin:
    """Where a number of consecutive rows come from: `where` names the source, `reader` finds the lines of a file."""

    where: str
    rows: int
    reader: Reader | None = None


@dataclass(frozen=True)
class LocatedTable:
    """The rows of one split as an Arrow table, and their origins in the same order.

    folder: the name of the folder of several origins; left out, it is the one that the first lies in.
    """

    table: pa.Table
    origins: list[RowOrigin]
    folder: str | None = None
    _columns: dict[tuple[str, bool, str | None], ChunkedColumn] = field(default_factory=dict, repr=False)

    @classmethod
    def single(cls, where: str, table: pa.Table, reader: Reader | None = None) -> Self:
        """Return a table whose rows all have one origin."""
        return cls(table, [RowOrigin(where, table.num_rows, reader)])

    def column(self, name: str, fill: str | None = None, *, flat: bool = False) -> ChunkedColumn:
        """Return a column of all rows, or with `flat` the elements of its lists; `fill` replaces nulls.

        The same object is returned each time, so its content ids are computed once for all splits and roles.
        """
        arrays: list[Any] = self.table.column(name).chunks
        arrays = [array.flatten() for array in arrays] if flat else arrays
        fill = fill if sum(array.null_count for array in arrays) else None
        key = (name, flat, fill)
        if key not in self._columns:
            self._columns[key] = ChunkedColumn(name, arrays, None, fill)
        return self._columns[key]

    @property
    def where(self) -> str:
        """Return the name of the file, or of the folder of several."""
        if self.folder is not None:
            return self.folder
        return self.origins[0].where if len(self.origins) == 1 else str(Path(self.origins[0].where).parent)

    def locate(self, row: int) -> str:
        """Return the file, the row (counted from 1) and, where there are lines, the line of a row (given from 0)."""
        ends = list(accumulate(origin.rows for origin in self.origins))
        i = bisect_right(ends, row)
        origin, row = self.origins[i], row - (ends[i - 1] if i else 0)
        try:
            line = line_of(origin.reader, row) if origin.reader is not None else None
        except (OSError, EOFError, ValueError, csv.Error):  # the file has changed since it was read
            line = None
        return f"{origin.where}: row {row + 1}" + (f" (line {line})" if line is not None else "")
