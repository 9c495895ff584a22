"""Columns: named sequences of cells (texts, images), the ids of their contents, and functions of row ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol
from weakref import finalize

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
SEEK_GAP = 8  # rows between two wanted ones that are cheaper to read than to skip
READ_BLOCK = 10_000  # cells read in one call
_IDS: dict[int, Ids] = {}  # content ids by id(column): positives, tokenizer, store and task need the same ones


class Column(Protocol):
    """A sequence of cells that is read in slices, so that it may be on disk; its cells never change."""

    @property
    def name(self) -> str:
        """The column's name in error messages."""
        ...

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


def kind_of(cell: Any) -> str:
    """Return the kind of a cell, as errors and encoders (`reads`) call it.

    "text", "texts" (a list), "number"; of arrays and tensors "image" (uint8, (h, w, 3)), "recording" (floats, (time,
    channels)), "vector" (floats, (d,)), "ids" (whole numbers, (t,), or a list) or "array"; else its type's name.
    """
    if isinstance(cell, str):
        return "text"
    if isinstance(cell, bool | int | float | np.number):
        return "number"
    if isinstance(cell, list | tuple) and cell:
        return {"text": "texts", "number": "ids"}.get(kind_of(cell[0]), type(cell).__name__)
    shape, kind = getattr(cell, "shape", None), str(getattr(cell, "dtype", "")).removeprefix("torch.")
    if shape is None or not kind:
        return type(cell).__name__
    if kind == "uint8" and len(shape) == 3 and shape[2] == 3:
        return "image"
    known = {(True, 1): "vector", (True, 2): "recording", (False, 1): "ids"}
    return known.get(("float" in kind, len(shape)), "array")


def chunks(column: Column, size: int = READ_BLOCK) -> Iterator[list[Any]]:
    """Yield the cells of a column in lists of at most `size`."""
    for start in range(0, len(column), size):
        yield column.read(start, min(start + size, len(column)))


def take(column: Column, rows: Ids) -> list[Any]:
    """Return the cells of some rows, in the order of `rows`."""
    wanted = np.unique(rows)
    cells: dict[int, Any] = {}
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > SEEK_GAP) + 1) if len(wanted) else []:
        first = int(run[0])
        read = column.read(first, int(run[-1]) + 1)
        cells.update((row, read[row - first]) for row in run.tolist())
    return [cells[row] for row in rows.tolist()]


def content_id(cell: Any) -> int:
    """Return the 64-bit content id of a cell: equal for equal contents, in every run and process."""
    return int.from_bytes(_digest(cell), "little", signed=True)


def content_ids(column: Column) -> Ids:
    """Return the content ids of a column, (n,) int64, read-only; they are computed once for each column.

    A column may have two more attributes. `picked`: a larger column and the rows of it that this one consists of, or
    None; then only the larger column is hashed, once for all selections of it. `encoded`: `read` with texts as UTF-8.
    """
    ids = _IDS.get(id(column))
    if ids is None:
        picked = getattr(column, "picked", None)
        ids = _digests(column) if picked is None else content_ids(picked[0])[picked[1]]
        ids.flags.writeable = False
        with suppress(TypeError):  # a class without weak references: its columns are read each time
            finalize(column, _IDS.pop, id(column), None).atexit = False
            _IDS[id(column)] = ids
    return ids


def _digests(column: Column) -> Ids:
    read, n = getattr(column, "encoded", column.read), len(column)
    ids = np.empty(n, np.int64)  # block by block: a bytes object for each cell would take six times the memory
    for start in range(0, n, READ_BLOCK):
        stop = min(start + READ_BLOCK, n)
        ids[start:stop] = np.frombuffer(b"".join(map(_digest, read(start, stop))), "<i8")
    return ids


def _digest(cell: Any) -> bytes:
    if isinstance(cell, bytes):  # a text from `encoded`: first, as there are millions
        return blake2b(cell, digest_size=8).digest()
    if isinstance(cell, np.ndarray):  # `str` would abridge it
        data = f"{cell.dtype}{cell.shape}".encode() + cell.tobytes()
    else:
        data = str(cell).encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=8).digest()


def ranges(start: Ids, count: Ids) -> Ids:
    """Return the ranges start[i], ..., start[i] + count[i] - 1 of all i, concatenated."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    indices: Ids = np.arange(total) + np.repeat(start - (ends - count), count)
    return indices


def equal_pairs(left: Ids, right: Ids) -> tuple[Ids, Ids]:
    """Return all (i, j) with left[i] == right[j], ordered by i, then j."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    start = np.searchsorted(ordered, left)
    count = np.searchsorted(ordered, left, side="right") - start
    return np.repeat(np.arange(len(left)), count), order[ranges(start, count)]
