"""Checks of cells, done array by array in Arrow: only a bad cell becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nearfar.column import INVISIBLE, is_empty

LONGEST_CELL = 10_000_000  # bytes; nobody wrote a longer text, and a batch of such texts fills the memory


class BadCellError(ValueError):
    """The first cell that fails a check, with its position among the cells."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def is_text(arrow_type: Any) -> bool:
    """Say whether cells of an Arrow type are text; a column of nulls counts as text that is missing."""
    text = pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or arrow_type == pa.string_view()
    return bool(text or pa.types.is_null(arrow_type))


def is_text_list(arrow_type: Any) -> bool:
    """Say whether cells of an Arrow type are lists of text."""
    return is_list(arrow_type) and is_text(arrow_type.value_type)


def is_list(arrow_type: Any) -> bool:
    """Say whether cells of an Arrow type are lists."""
    lists = pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type)
    return bool(lists or pa.types.is_fixed_size_list(arrow_type))


def is_number(arrow_type: Any) -> bool:
    """Say whether cells of an Arrow type are numbers, or true and false."""
    real = pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_decimal(arrow_type)
    return bool(real or pa.types.is_boolean(arrow_type))


def check_text(arrays: Iterable[Any], *, empty: bool) -> None:
    """Raise BadCellError for the first cell that is null or blank (unless `empty`), too long, or not UTF-8."""
    start = 0
    for array in arrays:
        bad = _first_bad_text(array, empty=empty)
        if bad is not None:
            position, problem = bad
            raise BadCellError(start + position, problem)
        start += len(array)


def not_blank(array: Any) -> npt.NDArray[np.bool_]:
    """Return which texts are neither null nor blank, (n,)."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.bool_)
    filled = pc.fill_null(pc.greater(pc.binary_length(_visible(array)), pa.scalar(0)), False)
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)


def _visible(array: Any) -> Any:
    """Return texts without white space and invisible characters at their ends."""
    return pc.utf8_trim(array if array.type != pa.string_view() else array.cast(pa.string()), INVISIBLE)


def _first_bad_text(array: Any, *, empty: bool) -> tuple[int, str] | None:
    """Return the position of the first bad text and what is wrong with it."""
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _first_not_utf8(array), "is not UTF-8 text; write it as UTF-8"
    masks = [pc.fill_null(pc.greater(pc.binary_length(array), pa.scalar(LONGEST_CELL)), False)]
    if not empty:
        masks += [array.is_null(), pc.fill_null(pc.equal(pc.binary_length(_visible(array)), pa.scalar(0)), False)]
    bad = np.logical_or.reduce([mask.to_numpy(zero_copy_only=False) for mask in masks])
    if not bad.any():
        return None
    position = int(bad.argmax())
    cell = array[position].as_py()
    if cell is None:
        return position, "is null; write some text or remove the row"
    if is_empty(cell):
        what = "empty" if not cell else "only invisible characters" if cell.strip() else "only white space"
        return position, f"is {what}; write some text or remove the row"
    size = len(cell.encode()) / 1e6
    return position, f"holds {size:.1f} MB of text, the most is {LONGEST_CELL // 10**6} MB; shorten it or split it up"


def _first_not_utf8(array: Any) -> int:
    for i, cell in enumerate(array.cast(pa.large_binary()).to_pylist()):
        try:
            (cell or b"").decode()
        except UnicodeDecodeError:
            return i
    return 0


def numbers(arrays: Iterable[Any]) -> npt.NDArray[np.float64]:
    """Return cells of numbers, or of text that spells them, as (n,) float64. Errors: BadCellError for another cell."""
    found = [np.empty(0, np.float64)]
    start = 0
    for array in arrays:
        try:
            values = _floats(array)
        except pa.ArrowException:
            position = next(i for i in range(len(array)) if not _reads_as_number(array.slice(i, 1)))
            raise BadCellError(start + position, f"{_shown(array, position)} is not a number; write one") from None
        bad = ~np.isfinite(values)
        if bad.any():
            position = int(bad.argmax())
            raise BadCellError(start + position, f"{_shown(array, position)} is not a finite number; write one")
        found.append(values)
        start += len(array)
    return np.concatenate(found)


def _floats(array: Any) -> npt.NDArray[np.float64]:
    if is_text(array.type):
        array = pc.utf8_trim_whitespace(array.cast(pa.string()))
    # Nulls become NaN, which is not finite.
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _reads_as_number(array: Any) -> bool:
    try:
        _floats(array)
    except pa.ArrowException:
        return False
    return True


def _shown(array: Any, position: int) -> str:
    cell = array[position].as_py()
    return "null" if cell is None else repr(cell)[:60]
