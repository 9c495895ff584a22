"""The identity of an Arrow table's content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


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
