"""Strings and NumPy arrays to Arrow and back, as buffers.

Arrow imports pandas, where that is installed, to convert lists and NumPy arrays: a second in every process for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nearfar.column import Ids

Scalar = TypeVar("Scalar", bound=np.generic)


def text_array(texts: Sequence[str]) -> pa.Array[Any]:
    """Return n strings as an Arrow array."""
    data = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int64)  # (n + 1,)
    return pa.Array.from_buffers(pa.large_string(), len(data), [None, _buffer(ends), pa.py_buffer(b"".join(data))])


def fixed_width_array(rows: npt.NDArray[Any], dtype: pa.DataType) -> pa.Array[Any]:
    """Return an array of n rows, (n,) or (n, k), as an Arrow array of a type as wide as a row."""
    return pa.Array.from_buffers(dtype, len(rows), [None, _buffer(rows)])


def _buffer(rows: npt.NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(np.ascontiguousarray(rows).data)


def take_rows(table: pa.Table, rows: Ids) -> pa.Table:
    """Return the rows (n,) of a table, in this order."""
    return table.take(fixed_width_array(rows, pa.int64()))


def column_values(table: pa.Table, name: str, dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    """Return a column of fixed width without nulls as a flat array of `dtype`."""
    if not len(table):
        return np.empty(0, dtype)
    column = pa.concat_arrays(table[name].chunks)
    width, data = column.type.bit_width // 8, column.buffers()[1]
    return np.frombuffer(memoryview(data or b"")[column.offset * width :][: len(column) * width], dtype)
