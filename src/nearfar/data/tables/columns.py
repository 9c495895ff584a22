"""Columns of an Arrow table: read in slices, some of the rows or all, without a Python object for each cell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nearfar.column import Ids, ranges

_WINDOW = 1 << 16  # rows looked at together
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}  # the same memory under another name
_PLAIN = {*_BYTES, *_BYTES.values()}


class ChunkedColumn:
    """A column over Arrow arrays, of all rows or of some; `fill` takes the place of nulls.

    `picked`, of some rows: the column of all, and which of them.
    """

    picked: tuple[ChunkedColumn, Ids] | None = None

    def __init__(self, name: str, arrays: list[Any], rows: Ids | None = None, fill: Any = None) -> None:
        self.name = name
        self._arrays = [array for array in arrays if len(array)]
        self._ends = np.cumsum([len(array) for array in self._arrays], dtype=np.int64)
        self._rows = rows
        self._fill = fill

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        cells = [cell for array in self.arrays(start, stop) for cell in _cells(array)]
        return cells if self._fill is None else [self._fill if cell is None else cell for cell in cells]

    def encoded(self, start: int, stop: int) -> list[Any]:
        """Return the cells as `read` does, but texts as UTF-8: as they lie in memory."""
        cells: list[Any] = []
        for array in self.arrays(start, stop):
            cells += _cells(array.cast(_BYTES.get(array.type, array.type)))
        return [_encoded(self._fill) if cell is None else cell for cell in cells]

    def pick(self, rows: Ids | None) -> ChunkedColumn:
        """Return some rows of a column of all; the column itself for None."""
        if rows is None:
            return self
        some = ChunkedColumn(self.name, self._arrays, rows, self._fill)
        some.picked = (self, rows)
        return some

    def arrays(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield rows `start` to `stop` as arrays of at most 65,536 rows, in order."""
        stop = len(self) if stop is None else min(stop, len(self))
        for low in range(start, stop, _WINDOW):
            high = min(low + _WINDOW, stop)
            yield from self._slices(low, high) if self._rows is None else self._picked(self._rows[low:high])

    def _slices(self, low: int, high: int) -> Iterator[Any]:
        i = int(np.searchsorted(self._ends, low, side="right"))
        while low < high:
            start = int(self._ends[i]) - len(self._arrays[i])
            end = min(high, int(self._ends[i]))
            yield self._arrays[i].slice(low - start, end - low)
            low, i = end, i + 1

    def _picked(self, rows: Ids) -> Iterator[Any]:
        owner = np.searchsorted(self._ends, rows, side="right")
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(owner)) + 1):
            array = self._arrays[owner[run[0]]]
            yield array.take(pa.array(rows[run] - (self._ends[owner[run[0]]] - len(array))))


def _cells(array: Any) -> list[Any]:
    if array.type in _PLAIN:
        return list(array.to_numpy(zero_copy_only=False))  # several times faster than to_pylist
    return list(array.to_pylist())


def _encoded(fill: Any) -> Any:
    return fill.encode() if isinstance(fill, str) else fill


def flat_rows(lengths: Ids, rows: Ids | None) -> tuple[Ids | None, Ids]:
    """Return which of the flattened values the lists of `rows` hold, and their (n + 1,) offsets."""
    ends = np.cumsum(lengths)
    if rows is None:
        return None, np.concatenate([[0], ends])
    picked = lengths[rows]
    offsets = np.concatenate([[0], np.cumsum(picked)])
    return ranges(ends[rows] - picked, picked), offsets


class Digest:
    """The identity of columns by their content: how rows were cut into arrays, or stored, does not matter."""

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}

    def add(self, path: str, array: Any) -> None:
        """Take in the next rows of a column, and what is inside them."""
        kind = array.type
        if pa.types.is_dictionary(kind):
            self.add(path, array.dictionary_decode())
        elif pa.types.is_struct(kind):
            self._feed(path, "valid", array.is_valid().to_numpy(zero_copy_only=False))
            for field, values in zip(kind, array.flatten()):
                self.add(f"{path}.{field.name}", values)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._feed(path, "list", _lengths(pc.list_value_length(array)))
            self.add(f"{path}[]", array.flatten())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            self._feed(path, "valid", array.is_valid().to_numpy(zero_copy_only=False))
            values = array.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
            wide = {"f": np.float64, "b": np.bool_}.get(values.dtype.kind, np.int64)  # int8 and int64 may be equal
            self._feed(path, np.dtype(wide).name, values.astype(wide))
        else:
            self._text(path, array)

    def _text(self, path: str, array: Any) -> None:
        try:
            data = array.cast(pa.large_binary())
        except pa.ArrowException:  # times, decimals and the like: rare enough to be written out
            data = pa.array(
                [None if cell is None else str(cell).encode() for cell in array.to_pylist()], pa.large_binary()
            )
        self._feed(path, "text", _lengths(pc.binary_length(data)))
        data = data.drop_null()
        offsets = np.frombuffer(data.buffers()[1], np.int64, len(data) + 1, 8 * data.offset) if len(data) else [0, 0]
        if offsets[-1] > offsets[0]:
            self._feed(path, "bytes", np.frombuffer(data.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])

    def _feed(self, path: str, what: str, values: npt.NDArray[Any]) -> None:
        stream = self._streams.setdefault(f"{path} {what}", hashlib.blake2b(digest_size=16))
        stream.update(np.ascontiguousarray(values).data)

    def parts(self) -> list[str]:
        """Return what was seen, by path."""
        return [f"{path} {stream.hexdigest()}" for path, stream in sorted(self._streams.items())]


def _lengths(lengths: Any) -> npt.NDArray[np.int64]:
    return np.asarray(lengths.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
