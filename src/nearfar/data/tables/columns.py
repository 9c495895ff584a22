"""Columns of an Arrow table: read in slices, flattened and hashed without a Python object for each cell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nearfar.column import Ids, cell_ids, ranges, text_ids
from nearfar.data.tables.cells import is_list

_MAX_ROWS, _MAX_BYTES = 1 << 16, 1 << 25  # of an array that `arrays` yields; bytes, about: it may be a copy
_BINARY = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}  # the same bytes in memory, not decoded
_FAST_TO_NUMPY = {*_BINARY, *_BINARY.values()}


class ChunkedColumn:
    """A column over Arrow arrays: all their rows, or the selected `rows` (n,); `fill` replaces nulls.

    whole: the column of all rows that these are selected from, which is hashed once for all selections.
    """

    def __init__(
        self,
        name: str,
        arrays: list[Any],
        rows: Ids | None = None,
        fill: str | None = None,
        whole: ChunkedColumn | None = None,
    ) -> None:
        self.name = name
        self._whole = whole
        self._ids: Ids | None = None
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

    def ids(self) -> Ids:
        """Return the content ids of the cells (n,), read-only; all rows are hashed once, however they are selected."""
        if self._ids is None:
            whole = self._whole
            self._ids = self._hashed() if whole is None or self._rows is None else whole.ids()[self._rows]
            self._ids.flags.writeable = False
        return self._ids

    def _hashed(self) -> Ids:
        """Return the ids of all cells; those of texts from their UTF-8 bytes, as they are in memory."""
        if any(array.type not in _BINARY for array in self._arrays):
            return cell_ids(self)
        fill = None if self._fill is None else self._fill.encode()
        blocks = (_cells(array.cast(_BINARY[array.type])) for array in self.arrays())
        parts = [text_ids(fill if text is None else text for text in texts) for texts in blocks]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def pick(self, rows: Ids | None) -> ChunkedColumn:
        """Return the column of the selected `rows` of this one, which must have all rows; None selects all."""
        if rows is None:
            return self
        return ChunkedColumn(self.name, self._arrays, rows, self._fill, self)

    def arrays(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield rows `start` to `stop` as arrays of at most 65,536 rows, of long cells of fewer, in order."""
        stop = len(self) if stop is None else min(stop, len(self))
        for low in range(start, stop, self._rows_at_once):
            high = min(low + self._rows_at_once, stop)
            yield from self._slices(low, high) if self._rows is None else self._taken(self._rows[low:high])

    @cached_property
    def _rows_at_once(self) -> int:
        size = sum(array.nbytes for array in self._arrays)
        return max(1, min(_MAX_ROWS, _MAX_BYTES * int(self._ends[-1]) // max(size, 1))) if size else _MAX_ROWS

    def _slices(self, low: int, high: int) -> Iterator[Any]:
        i = int(np.searchsorted(self._ends, low, side="right"))
        while low < high:
            start = int(self._ends[i]) - len(self._arrays[i])
            end = min(high, int(self._ends[i]))
            yield self._arrays[i].slice(low - start, end - low)
            low, i = end, i + 1

    def _taken(self, rows: Ids) -> Iterator[Any]:
        index = np.searchsorted(self._ends, rows, side="right")  # of the array that holds each row, (n,)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(index)) + 1):
            array = self._arrays[index[run[0]]]
            yield array.take(pa.array(rows[run] - (self._ends[index[run[0]]] - len(array))))


def _cells(array: Any) -> list[Any]:
    if array.type in _FAST_TO_NUMPY:
        return list(array.to_numpy(zero_copy_only=False))  # several times faster than to_pylist
    return list(array.to_pylist())


def flattened_rows(lengths: Ids, rows: Ids | None) -> tuple[Ids | None, Ids]:
    """Return the positions, among the flattened elements of all lists, of those of `rows`; and their (n + 1,) offsets.

    lengths: of all lists, (m,). rows: the selected lists, (n,); for None, all, the positions are None.
    """
    ends = np.cumsum(lengths)
    if rows is None:
        return None, np.concatenate([[0], ends])
    selected = lengths[rows]  # (n,)
    offsets = np.concatenate([[0], np.cumsum(selected)])
    return ranges(ends[rows] - selected, selected), offsets


class ColumnDigest:
    """A hash of columns by their content: how the rows are cut into arrays, or stored, does not change it."""

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}

    def add(self, path: str, array: Any) -> None:
        """Hash the next rows of a column, with the values inside its cells. path: the column's or the value's name."""
        arrow_type = array.type
        if pa.types.is_dictionary(arrow_type):
            self.add(path, array.dictionary_decode())
        elif pa.types.is_struct(arrow_type):
            self._feed(path, "valid", array.is_valid().to_numpy(zero_copy_only=False))
            for field, values in zip(arrow_type, array.flatten()):
                self.add(f"{path}.{field.name}", values)
        elif is_list(arrow_type):
            self._feed(path, "list", _lengths(pc.list_value_length(array)))
            self.add(f"{path}[]", array.flatten())
        elif pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_boolean(arrow_type):
            self._feed(path, "valid", array.is_valid().to_numpy(zero_copy_only=False))
            values = array.fill_null(False if pa.types.is_boolean(arrow_type) else 0).to_numpy(zero_copy_only=False)
            dtype = {"f": np.float64, "b": np.bool_}.get(values.dtype.kind, np.int64)  # int8 and int64 hash alike
            self._feed(path, np.dtype(dtype).name, values.astype(dtype))
        else:
            self._text(path, array)

    def _text(self, path: str, array: Any) -> None:
        try:
            data = array.cast(pa.large_binary())
        except pa.ArrowException:  # times, decimals and the like are rare, so may be slow
            data = pa.array(
                [None if cell is None else str(cell).encode() for cell in array.to_pylist()], pa.large_binary()
            )
        self._feed(path, "text", _lengths(pc.binary_length(data)))
        data = data.drop_null()
        offsets = np.frombuffer(data.buffers()[1], np.int64, len(data) + 1, 8 * data.offset) if len(data) else [0, 0]
        if offsets[-1] > offsets[0]:
            self._feed(path, "bytes", np.frombuffer(data.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])

    def _feed(self, path: str, aspect: str, values: npt.NDArray[Any]) -> None:
        stream = self._streams.setdefault(f"{path} {aspect}", hashlib.blake2b(digest_size=16))
        stream.update(np.ascontiguousarray(values).data)

    def parts(self) -> list[str]:
        """Return the hashes with the paths they are of, in order of the paths."""
        return [f"{path} {stream.hexdigest()}" for path, stream in sorted(self._streams.items())]


def _lengths(lengths: Any) -> npt.NDArray[np.int64]:
    return np.asarray(lengths.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
