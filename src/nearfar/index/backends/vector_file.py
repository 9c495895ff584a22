"""A file of rows of bytes, all of one width: appended to and flushed, and read where it lies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nearfar.errors import InputError
from nearfar.index.backends.codes import Codes
from nearfar.storage.places import write_error


class VectorFile:
    """Rows (n, width) in a file. One process writes at a time; readers map it, and again where it has grown."""

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        self._mapped: Codes = np.empty((0, width), np.uint8)

    def write(self, first: int, rows: Codes) -> None:
        """Write rows from number `first` on, and flush them to the disk. Errors: `RunError` for a full one."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                left, place = memoryview(rows.tobytes()), first * self.width
                while len(left):
                    done = os.pwrite(descriptor, left, place)
                    left, place = left[done:], place + done
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise write_error(self.path, error) from error

    def rows(self, count: int) -> Codes:
        """Return the first `count` rows, which are read from the disk when they are used.

        Errors: `InputError` for a file that has fewer; `FileNotFoundError`.
        """
        if count > len(self._mapped):
            size = self.path.stat().st_size
            if size < count * self.width:
                raise InputError(f"{self.path}: has {size:,} bytes, {count:,} rows need {count * self.width:,}; "
                                 "the file was cut off: build the index again")  # fmt: skip
            mapped = np.memmap(self.path, np.uint8, "r", shape=(size // self.width, self.width))
            self._mapped = np.asarray(mapped)
        return self._mapped[:count]
