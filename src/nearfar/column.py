"""A column: one named sequence of raw things (texts, pictures) with an identity for its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol
from weakref import finalize

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
GAP = 8  # rows between two wanted ones that are cheaper to read than to skip


class Column(Protocol):
    """A sequence that is read in slices, so that it may live on disk; its cells stay as they are."""

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
    wanted = np.unique(rows)
    cells: dict[int, Any] = {}
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > GAP) + 1) if len(wanted) else []:
        first = int(run[0])
        read = column.read(first, int(run[-1]) + 1)
        cells.update((row, read[row - first]) for row in run.tolist())
    return [cells[row] for row in rows.tolist()]


def content_id(cell: Any) -> int:
    """Return the 64-bit identity of one cell's content: the same in every run, process and batch."""
    return int.from_bytes(_digest(cell), "little", signed=True)


def content_ids(column: Column) -> Ids:
    """Return the content identities of a column, (n,) int64, read-only; a column is read once however often asked."""
    known = _IDS.get(id(column))
    if known is None:
        digests = b"".join([_digest(cell) for cells in chunks(column) for cell in cells])
        known = np.frombuffer(digests, "<i8").astype(np.int64, copy=False)
        with suppress(TypeError):  # a class whose end cannot be watched for: its columns are read each time
            finalize(column, _IDS.pop, id(column), None).atexit = False
            _IDS[id(column)] = known
    return known


_IDS: dict[int, Ids] = {}  # by column: positives, tokenizer, store and task ask for the same


def _digest(cell: Any) -> bytes:
    if isinstance(cell, np.ndarray):  # as text it would be abridged
        data = f"{cell.dtype}{cell.shape}".encode() + cell.tobytes()
    else:
        data = cell if isinstance(cell, bytes) else str(cell).encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=8).digest()
