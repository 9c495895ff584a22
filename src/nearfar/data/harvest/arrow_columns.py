"""Columns of an Arrow table: read in slices, or as an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nearfar.column import Ids

Scalar = TypeVar("Scalar", bound=np.generic)


class ArrowColumn:
    """A column whose cells become Python objects only where they are read."""

    def __init__(self, name: str, cells: pa.ChunkedArray[Any]) -> None:
        self.name = name
        self.cells = cells

    def __len__(self) -> int:
        return len(self.cells)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        return self.cells.slice(start, max(stop - start, 0)).to_pylist()


# Arrow imports pandas, where that is installed, to convert lists and NumPy arrays: a second in every process, for
# nothing. So what follows hands over buffers.


def texts(cells: Sequence[str]) -> pa.Array[Any]:
    """Return n strings as an Arrow array."""
    data = [cell.encode() for cell in cells]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int64)  # (n + 1,)
    return pa.Array.from_buffers(pa.large_string(), len(data), [None, _buffer(ends), pa.py_buffer(b"".join(data))])


def numbers(rows: npt.NDArray[Any], dtype: pa.DataType) -> pa.Array[Any]:
    """Return an array of n rows as an Arrow array whose type has a row's width."""
    return pa.Array.from_buffers(dtype, len(rows), [None, _buffer(rows)])


def _buffer(rows: npt.NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(np.ascontiguousarray(rows).data)


def take(table: pa.Table, rows: Ids) -> pa.Table:
    """Return some rows of a table, in the order asked for."""
    return table.take(numbers(rows, pa.int64()))


def values(table: pa.Table, name: str, dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    """Return a column of fixed width without nulls as a flat array of `dtype`."""
    if not len(table):
        return np.empty(0, dtype)
    column = pa.concat_arrays(table[name].chunks)
    width, data = column.type.bit_width // 8, column.buffers()[1]
    return np.frombuffer(memoryview(data or b"")[column.offset * width :][: len(column) * width], dtype)
