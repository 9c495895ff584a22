"""The rows of one split: all rows of a source, or some of them, and their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from nearfar.column import Column, Ids
from nearfar.data.tables import cells
from nearfar.data.tables.columns import ChunkedColumn, Digest, flat_rows
from nearfar.data.tables.row_locator import Source
from nearfar.errors import InputError, nearest
from nearfar.storage.fingerprint import fingerprint


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


def text(selection: Selection, name: str, *, empty: bool) -> Column:
    """Return a checked column of text."""
    if not cells.is_text(selection.kind(name)):
        raise _wrong_type(selection, name, "text")
    try:
        cells.check_text(selection.column(name).arrays(), empty=empty)
    except cells.BadCellError as bad:
        raise InputError(f"{selection.place(bad.position)}, column {name!r}: {bad}") from None
    return selection.column(name, fill="" if empty else None)


def lists(selection: Selection, name: str) -> tuple[Column, Ids]:
    """Return a checked column of lists of text, flattened, and its offsets."""
    if cells.is_text(selection.kind(name)):
        return text(selection, name, empty=False), np.arange(len(selection) + 1)
    if not cells.is_text_list(selection.kind(name)):
        raise _wrong_type(selection, name, "text or lists of text")
    column, offsets = selection.flat(name)
    try:
        cells.check_text(column.arrays(), empty=False)
    except cells.BadCellError as bad:
        row = int(np.searchsorted(offsets, bad.position, side="right")) - 1
        element = bad.position - int(offsets[row]) + 1
        raise InputError(f"{selection.place(row)}, column {name!r}: element {element} {bad}") from None
    return column, offsets


def numbers(selection: Selection, name: str) -> npt.NDArray[np.float64]:
    """Return a checked column of numbers."""
    if not (cells.is_number(selection.kind(name)) or cells.is_text(selection.kind(name))):
        raise _wrong_type(selection, name, "numbers")
    try:
        return cells.numbers(selection.column(name).arrays())
    except cells.BadCellError as bad:
        raise InputError(f"{selection.place(bad.position)}, column {name!r}: {bad}") from None


def _wrong_type(selection: Selection, name: str, wanted: str) -> InputError:
    first = next((cell for cell in selection.column(name).read(0, 1)), None)
    columns = ", ".join(f"{other} ({selection.kind(other)})" for other in selection.names)
    return InputError(
        f"{selection.place(0)}, column {name!r}: holds {str(first)[:40]!r}, and the column's type is "
        f"{selection.kind(name)}, not {wanted}; name another column: {columns}"
    )
