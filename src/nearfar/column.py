"""A column: one named sequence of raw things (texts, pictures) with an identity for its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class Column(Protocol):
    """A sequence that is read in slices, so that it may live on disk."""

    name: str

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        ...


class ListColumn:
    """A column held in memory."""

    def __init__(self, name: str, cells: Sequence[Any]) -> None:
        self.name = name
        self.cells = cells

    def __len__(self) -> int:
        return len(self.cells)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        return list(self.cells[start:stop])


def chunks(column: Column, size: int = 10_000) -> Iterator[list[Any]]:
    """Yield the cells of a column in lists of at most `size`."""
    for start in range(0, len(column), size):
        yield column.read(start, min(start + size, len(column)))


def take(column: Column, rows: Ids) -> list[Any]:
    """Return the cells of some rows, in the order asked for."""
    return [column.read(int(row), int(row) + 1)[0] for row in rows]


def content_id(cell: Any) -> int:
    """Return the 64-bit identity of one cell's content: the same in every run, process and batch."""
    data = cell if isinstance(cell, bytes) else str(cell).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def content_ids(column: Column) -> Ids:
    """Return the content identities of a column, (n,) int64."""
    if len(column) == 0:
        return np.empty(0, np.int64)
    return np.concatenate([np.fromiter(map(content_id, cells), np.int64, len(cells)) for cells in chunks(column)])

