"""Selected rows of a table and their checked columns, with errors that name the file, the row and the column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from nearfar.column import Column, Ids
from nearfar.data.tables import cells
from nearfar.data.tables.columns import ChunkedColumn, ColumnDigest, flattened_rows
from nearfar.data.tables.row_locator import LocatedTable
from nearfar.errors import InputError, nearest
from nearfar.storage.fingerprint import fingerprint


@dataclass(frozen=True)
class Selection:
    """Rows (n,) of a table, as ascending positions, or None for all."""

    source: LocatedTable
    rows: Ids | None = None

    def __len__(self) -> int:
        return int(self.source.table.num_rows) if self.rows is None else len(self.rows)

    def select(self, rows: Ids) -> Selection:
        """Return some of these rows, given by their positions among them, ascending."""
        return Selection(self.source, rows if self.rows is None else self.rows[rows])

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.source.table.column_names)

    def locate(self, row: int) -> str:
        """Return the file, the row and the line of a row of the selection."""
        return self.source.locate(row if self.rows is None else int(self.rows[row]))

    def arrow_type(self, name: str) -> Any:
        """Return the Arrow type of a column. Errors: InputError that lists the known columns."""
        names = self.column_names
        if name not in names:
            raise InputError(f"{self.source.where}: no column {name!r}; {nearest(name, names)}")
        return self.source.table.schema.field(name).type

    def column(self, name: str, fill: str | None = None) -> ChunkedColumn:
        """Return a column, (n,); `fill` replaces nulls."""
        self.arrow_type(name)
        return self.source.column(name, fill).pick(self.rows)

    def flattened(self, name: str, fill: str | None = None) -> tuple[ChunkedColumn, Ids]:
        """Return the elements of a column of lists (v,), list after list, and the (n + 1,) offsets of the rows."""
        arrays: list[Any] = self.source.table.column(name).chunks
        lengths = [pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False) for array in arrays]
        elements, offsets = flattened_rows(np.concatenate(lengths).astype(np.int64), self.rows)
        return self.source.column(name, fill, flat=True).pick(elements), offsets

    def fingerprint(self) -> str:
        """Return the fingerprint of the rows' content."""
        digest = ColumnDigest()
        for name in self.column_names:
            for array in self.column(name).arrays():
                digest.add(name, array)
        return fingerprint(len(self), self.column_names, *digest.parts())


def checked_text(selection: Selection, name: str, *, empty: bool) -> Column:
    """Return a column of text, (n,) str, checked as `cells.check_text` says."""
    if not cells.is_text(selection.arrow_type(name)):
        raise _wrong_type(selection, name, "text")
    try:
        cells.check_text(selection.column(name).arrays(), empty=empty)
    except cells.BadCellError as bad:
        raise InputError(f"{selection.locate(bad.position)}, column {name!r}: {bad}") from None
    return selection.column(name, fill="" if empty else None)


def checked_lists(selection: Selection, name: str) -> tuple[Column, Ids]:
    """Return the checked elements of a column of lists of text, (v,) str, and the (n + 1,) offsets of the rows."""
    if cells.is_text(selection.arrow_type(name)):
        return checked_text(selection, name, empty=False), np.arange(len(selection) + 1)
    if not cells.is_text_list(selection.arrow_type(name)):
        raise _wrong_type(selection, name, "text or lists of text")
    column, offsets = selection.flattened(name)
    try:
        cells.check_text(column.arrays(), empty=False)
    except cells.BadCellError as bad:
        row = int(np.searchsorted(offsets, bad.position, side="right")) - 1
        element = bad.position - int(offsets[row]) + 1
        raise InputError(f"{selection.locate(row)}, column {name!r}: element {element} {bad}") from None
    return column, offsets


def checked_numbers(selection: Selection, name: str) -> npt.NDArray[np.float64]:
    """Return a column of numbers, (n,) float64, all finite."""
    if not (cells.is_number(selection.arrow_type(name)) or cells.is_text(selection.arrow_type(name))):
        raise _wrong_type(selection, name, "numbers")
    try:
        return cells.numbers(selection.column(name).arrays())
    except cells.BadCellError as bad:
        raise InputError(f"{selection.locate(bad.position)}, column {name!r}: {bad}") from None


def _wrong_type(selection: Selection, name: str, wanted: str) -> InputError:
    first = next((cell for cell in selection.column(name).read(0, 1)), None)
    columns = ", ".join(f"{other} ({selection.arrow_type(other)})" for other in selection.column_names)
    return InputError(
        f"{selection.locate(0)}, column {name!r}: holds {str(first)[:40]!r}, and the column's type is "
        f"{selection.arrow_type(name)}, not {wanted}; name another column: {columns}"
    )
