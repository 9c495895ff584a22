"""What cells must hold, looked at array by array in Arrow: only a bad cell becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

LONGEST_CELL = 10_000_000  # bytes; no text that a person wrote, and enough to fill a batch's memory


class BadCellError(ValueError):
    """The first cell that does not do, by its position."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def is_text(kind: Any) -> bool:
    """Say whether cells of a type are text; a column of nulls is text that is missing."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view() or pa.types.is_null(kind)
    )


def is_text_list(kind: Any) -> bool:
    """Say whether cells of a type are lists of text."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists) and is_text(kind.value_type)


def is_number(kind: Any) -> bool:
    """Say whether cells of a type are numbers, true and false among them."""
    real = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(real or pa.types.is_boolean(kind))


def check_text(arrays: Iterable[Any], *, empty: bool) -> None:
    """Raise BadCellError for the first cell that is null or blank (unless `empty`), too long, or not UTF-8."""
    done = 0
    for array in arrays:
        bad = _bad_texts(array, empty=empty)
        if bad is not None:
            raise BadCellError(done + bad[0], bad[1])
        done += len(array)


def says_something(array: Any) -> npt.NDArray[np.bool_]:
    """Say which texts are neither null nor blank, (n,)."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.bool_)
    trimmed = pc.utf8_trim_whitespace(array if array.type != pa.string_view() else array.cast(pa.string()))
    told = pc.fill_null(pc.greater(pc.binary_length(trimmed), pa.scalar(0)), False)
    return np.asarray(told.to_numpy(zero_copy_only=False), np.bool_)


def _bad_texts(array: Any, *, empty: bool) -> tuple[int, str] | None:
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _not_utf8(array), "is not UTF-8 text; write it as UTF-8"
    masks = [pc.fill_null(pc.greater(pc.binary_length(array), pa.scalar(LONGEST_CELL)), False)]
    if not empty:
        masks += [array.is_null(), pc.fill_null(pc.equal(pc.binary_length(array), pa.scalar(0)), False)]
        masks += [pc.fill_null(pc.utf8_is_space(array), False)]
    bad = np.logical_or.reduce([mask.to_numpy(zero_copy_only=False) for mask in masks])
    if not bad.any():
        return None
    position = int(bad.argmax())
    cell = array[position].as_py()
    if cell is None:
        return position, "is null; write some text or remove the row"
    if not cell.strip():
        return position, f"is {'only white space' if cell else 'empty'}; write some text or remove the row"
    size = len(cell.encode()) / 1e6
    return position, f"holds {size:.1f} MB of text, the most is {LONGEST_CELL // 10**6} MB; shorten it or split it up"


def _not_utf8(array: Any) -> int:
    for i, cell in enumerate(array.cast(pa.large_binary()).to_pylist()):
        try:
            (cell or b"").decode()
        except UnicodeDecodeError:
            return i
    return 0


def numbers(arrays: Iterable[Any]) -> npt.NDArray[np.float64]:
    """Return cells as (n,) float64; text that spells a number is one. BadCellError for the first that is none."""
    found = [np.empty(0, np.float64)]
    done = 0
    for array in arrays:
        try:
            values = _floats(array)
        except pa.ArrowException:
            position = next(i for i in range(len(array)) if not _reads_as_number(array.slice(i, 1)))
            raise BadCellError(done + position, f"{_shown(array, position)} is not a number; write one") from None
        bad = ~np.isfinite(values)
        if bad.any():
            position = int(bad.argmax())
            raise BadCellError(done + position, f"{_shown(array, position)} is not a finite number; write one")
        found.append(values)
        done += len(array)
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
