"""Columns: named sequences of cells (texts, images), the ids of their contents, and functions of row ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable
from weakref import finalize

import numpy as np
import numpy.typing as npt

from nearfar.content import FIX, UnknownTypeError, digest, form_digest, in_nfc, is_known, text_digest
from nearfar.errors import InputError

Ids = npt.NDArray[np.int64]
SEEK_GAP = 8  # rows between two wanted ones that are cheaper to read than to skip
READ_BLOCK = 10_000  # cells read in one call, at most
READ_CHARACTERS = 1 << 23  # of texts read in one call, about: of long ones fewer are read, so that none need fit memory
_NOT_DRAWN = frozenset(  # Unicode's Default_Ignorable_Code_Point, as far as it is assigned
    chr(code)
    for first, last in (
        *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
        *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
        *((0xFFA0, 0xFFA0), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
INVISIBLE = _SPACES + "".join(sorted(_NOT_DRAWN))  # a text of nothing else is empty
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


@runtime_checkable
class Identified(Protocol):
    """A column that knows the content ids of its cells, (n,) int64, equal for equal contents: no cell is read for them.

    Columns that share contents (queries and documents) must take their ids from the same place, or from `content_id`.
    """

    def ids(self) -> Ids:
        """Return the content ids."""
        ...


@runtime_checkable
class OfKind(Protocol):
    """A column that knows the kind of its cells, in the words of `kind_of`."""

    kind: str


@runtime_checkable
class ReadsRows(Protocol):
    """A column that reads any rows at once, in any order: what takes long for each cell is then done in parallel."""

    def read_rows(self, rows: Ids) -> list[Any]:
        """Return the cells of some rows, in the order of `rows`."""
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

    def ids(self) -> Ids:
        """Return the content ids of the cells."""
        return cell_ids(self)


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
        first = "vector" if isinstance(cell[0], float) else {"text": "texts", "number": "ids"}.get(kind_of(cell[0]))
        return first or type(cell).__name__
    shape, kind = getattr(cell, "shape", None), str(getattr(cell, "dtype", "")).removeprefix("torch.")
    if shape is None or not kind:
        return type(cell).__name__
    if kind == "uint8" and len(shape) == 3 and shape[2] == 3:
        return "image"
    known = {(True, 1): "vector", (True, 2): "recording", (False, 1): "ids"}
    return known.get(("float" in kind, len(shape)), "array")


def column_kind(column: Column) -> str | None:
    """Return the kind of a column's cells: the one that it knows (`OfKind`), else that of its first cell.

    None for a column without rows.
    """
    if isinstance(column, OfKind):
        return column.kind
    return kind_of(column.read(0, 1)[0]) if len(column) else None


def is_empty(cell: Any) -> bool:
    """Return whether a cell holds nothing: None, a text without a visible character, an array or list of no element.

    White space and characters that are never drawn are invisible: `INVISIBLE`.
    """
    if isinstance(cell, str):
        seen = cell.strip()
        return not seen or (seen[0] in _NOT_DRAWN and not seen.strip(INVISIBLE))
    return cell is None or 0 in (getattr(cell, "shape", None) or ()) or (isinstance(cell, list | tuple) and not cell)


def chunks(column: Column, size: int = READ_BLOCK) -> Iterator[list[Any]]:
    """Yield the cells of a column in lists of at most `size`, of long texts in shorter ones (`READ_CHARACTERS`)."""
    start, count = 0, min(size, 10)
    while start < len(column):
        cells = column.read(start, min(start + count, len(column)))
        characters = sum(len(cell) for cell in cells if isinstance(cell, str))
        start += count
        count = max(1, min(size, 4 * count, READ_CHARACTERS * len(cells) // max(characters, 1)))
        yield cells


def take(column: Column, rows: Ids) -> list[Any]:
    """Return the cells of some rows, in the order of `rows`."""
    if isinstance(column, ReadsRows):
        return column.read_rows(rows)
    wanted = np.unique(rows)
    cells: dict[int, Any] = {}
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > SEEK_GAP) + 1) if len(wanted) else []:
        first = int(run[0])
        read = column.read(first, int(run[-1]) + 1)
        cells.update((row, read[row - first]) for row in run.tolist())
    return [cells[row] for row in rows.tolist()]


def distinct_rows(ids: Ids) -> tuple[Ids, Ids]:
    """Return the first row of each distinct id, ascending (d,), and the place of each row's id among these (n,)."""
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[place.reshape(-1)]


def content_id(cell: Any) -> int:
    """Return the 64-bit content id of a cell: equal for equal contents, in every run and process.

    Texts are compared in Unicode's normal form C, so NFC and NFD of a text are one content; case and accents differ.
    Kinds are told apart: 1, 1.0, True, "1" and b"1" differ, and so do ["ab", "c"] and ["a", "bc"]. A tuple is a list.
    An array or tensor is its type, shape and entries, wherever and however it lies in memory. A picture of PIL is its
    mode, size, palette and pixels.

    Errors: `InputError` for a cell of another type: its `str` might be that of another cell.
    """
    try:
        return int.from_bytes(digest(cell), "little", signed=True)
    except UnknownTypeError as error:
        raise InputError(f"content_id: {error} has no identity; {FIX}") from error


def content_ids(column: Column) -> Ids:
    """Return the content ids of a column, (n,) int64: those that it knows (`Identified`), else those of its cells.

    Errors: `InputError` for a cell of an unknown type, by row; for ids of another shape or type.
    """
    # A column of a user's may have an attribute of that name that is something else.
    known = column.ids() if isinstance(column, Identified) and callable(column.ids) else cell_ids(column)
    if not isinstance(known, np.ndarray) or known.shape != (len(column),) or known.dtype != np.int64:
        raise InputError(f"column {column.name!r}: ids() must return an array of {len(column)} int64, one for each row")
    return known


def cell_ids(column: Column) -> Ids:
    """Return the content ids of a column's cells, (n,) int64, read-only, read and hashed once for each column."""
    ids = _IDS.get(id(column))
    if ids is None:
        ids, start = np.empty(len(column), np.int64), 0
        for cells in chunks(column):  # block by block: a bytes object for each cell would take six times that
            try:
                ids[start : start + len(cells)] = _as_ids(map(digest, cells))
            except UnknownTypeError as error:
                row = start + next(i for i, cell in enumerate(cells) if not is_known(cell)) + 1
                raise InputError(f"column {column.name!r}, row {row}: {error} has no identity; {FIX}") from error
            start += len(cells)
        ids.flags.writeable = False
        with suppress(TypeError):  # a class without weak references: its columns are read each time
            finalize(column, _IDS.pop, id(column), None).atexit = False
            _IDS[id(column)] = ids
    return ids


def text_ids(texts: Iterable[bytes | None]) -> Ids:
    """Return the content ids of texts that are given in UTF-8, and of cells without one (None)."""
    missing = digest(None)
    return _as_ids(missing if text is None else text_digest(text if text.isascii() else in_nfc(text)) for text in texts)


def exact_ids(column: Column) -> Ids:
    """Return the content ids of a column, but those of texts that are not in normal form C tell their forms apart.

    What is made of the very code points (tokens, vectors, a vocabulary) is cached by these.
    """
    ids = content_ids(column)
    if column_kind(column) != "text":
        return ids
    cells = (cell for block in chunks(column) for cell in block)
    forms = {row: form for row, cell in enumerate(cells) if isinstance(cell, str) and (form := form_digest(cell))}
    if not forms:
        return ids
    exact = ids.copy()
    exact[list(forms)] = _as_ids(forms.values())
    return exact


def _as_ids(digests: Iterable[bytes]) -> Ids:
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64, copy=False)


@dataclass(frozen=True)
class Aliases:
    """Content ids that count as others: `ids` (a,), ascending, and what each counts as, `representatives` (a,)."""

    ids: Ids
    representatives: Ids

    @classmethod
    def of(cls, representatives: Mapping[int, int]) -> Self:
        """Return aliases from a mapping."""
        ids = np.array(sorted(representatives), np.int64)
        return cls(ids, np.array([representatives[content] for content in ids.tolist()], np.int64))

    @classmethod
    def none(cls) -> Self:
        """Return no aliases."""
        return cls.of({})

    def __len__(self) -> int:
        return len(self.ids)

    def __call__(self, ids: Ids) -> Ids:
        """Return content ids (of any shape) with each alias replaced."""
        if len(self.ids) == 0:
            return ids
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.representatives[place], ids)


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
