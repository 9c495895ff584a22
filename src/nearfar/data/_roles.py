"""Columns in a role: checked, and their errors told with the file, the row, the line and the column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.data import _cells
from nearfar.data._selection import Selection
from nearfar.errors import InputError


def text(selection: Selection, name: str, *, empty: bool) -> Column:
    """Return a checked column of text."""
    if not _cells.is_text(selection.kind(name)):
        raise _wrong_type(selection, name, "text")
    try:
        _cells.check_text(selection.column(name).arrays(), empty=empty)
    except _cells.BadCellError as bad:
        raise InputError(f"{selection.place(bad.position)}, column {name!r}: {bad}") from None
    return selection.column(name, fill="" if empty else None)


def lists(selection: Selection, name: str) -> tuple[Column, Ids]:
    """Return a checked column of lists of text, flattened, and its offsets."""
    if _cells.is_text(selection.kind(name)):
        return text(selection, name, empty=False), np.arange(len(selection) + 1)
    if not _cells.is_text_list(selection.kind(name)):
        raise _wrong_type(selection, name, "text or lists of text")
    column, offsets = selection.flat(name)
    try:
        _cells.check_text(column.arrays(), empty=False)
    except _cells.BadCellError as bad:
        row = int(np.searchsorted(offsets, bad.position, side="right")) - 1
        element = bad.position - int(offsets[row]) + 1
        raise InputError(f"{selection.place(row)}, column {name!r}: element {element} {bad}") from None
    return column, offsets


def numbers(selection: Selection, name: str) -> npt.NDArray[np.float64]:
    """Return a checked column of numbers."""
    if not (_cells.is_number(selection.kind(name)) or _cells.is_text(selection.kind(name))):
        raise _wrong_type(selection, name, "numbers")
    try:
        return _cells.numbers(selection.column(name).arrays())
    except _cells.BadCellError as bad:
        raise InputError(f"{selection.place(bad.position)}, column {name!r}: {bad}") from None


def _wrong_type(selection: Selection, name: str, wanted: str) -> InputError:
    first = next((cell for cell in selection.column(name).read(0, 1)), None)
    columns = ", ".join(f"{other} ({selection.kind(other)})" for other in selection.names)
    return InputError(
        f"{selection.place(0)}, column {name!r}: holds {str(first)[:40]!r}, and the column's type is "
        f"{selection.kind(name)}, not {wanted}; name another column: {columns}"
    )
