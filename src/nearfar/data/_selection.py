"""The rows of one split: all rows of a source, or some of them, and their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from nearfar.column import Ids
from nearfar.data._chunked import ChunkedColumn, flat_rows
from nearfar.data._digest import Digest
from nearfar.data._place import Source
from nearfar.errors import InputError, nearest
from nearfar.fingerprint import fingerprint


@dataclass(frozen=True)
class Selection:
    """Rows of a source, (n,) positions in ascending order, or all."""

    source: Source
    rows: Ids | None = None

    def __len__(self) -> int:
        return int(self.source.table.num_rows) if self.rows is None else len(self.rows)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.source.table.column_names)

    def place(self, row: int) -> str:
        """Return the file, the row and the line of a row."""
        return self.source.place(row if self.rows is None else int(self.rows[row]))

    def kind(self, name: str) -> Any:
        """Return the Arrow type of a column; an unknown name is an error that lists the known ones."""
        if name not in self.names:
            fix = ""
            if len(self.names) == 1 and (mark := next((m for m in "\t;,|" if m in self.names[0]), None)):
                fix = f"; {mark!r} seems to part the fields: give delimiter={mark!r}"
            raise InputError(f"{self.source.where}: no column {name!r}; {nearest(name, self.names)}{fix}")
        return self.source.table.schema.field(name).type

    def column(self, name: str, fill: str | None = None) -> ChunkedColumn:
        """Return a column, (n,); `fill` takes the place of nulls."""
        self.kind(name)
        return self.source.column(name, fill).pick(self.rows)

    def flat(self, name: str, fill: str | None = None) -> tuple[ChunkedColumn, Ids]:
        """Return what the lists of a column hold, end to end, and the (n + 1,) offsets of the rows."""
        chunks: list[Any] = self.source.table.column(name).chunks
        lengths = [pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False) for chunk in chunks]
        rows, offsets = flat_rows(np.concatenate(lengths).astype(np.int64), self.rows)
        return self.source.column(name, fill, flat=True).pick(rows), offsets

    def fingerprint(self) -> str:
        """Return the identity of the content."""
        digest = Digest()
        for name in self.names:
            for array in self.column(name).arrays():
                digest.add(name, array)
        return fingerprint(len(self), self.names, *digest.parts())
