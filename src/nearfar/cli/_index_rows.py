"""The rows of a table as an index takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nearfar.column_names import TEXT_COLUMNS
from nearfar.errors import InputError, listed, nearest
from nearfar.index.content_ids import ContentIds

if TYPE_CHECKING:
    from nearfar.evaluation.sources import Reading

_AT_ONCE = 10_000  # rows of one write
_IDS = ("id", "_id")
Vectors = npt.NDArray[Any]
Parts = Iterator[tuple[list[dict[str, Any]], Vectors | None]]


def vectors_of(path: Path) -> Vectors:
    """Return the vectors (n, d) of a .npy file. Errors: `InputError` for one that is missing or holds none."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not readable as a .npy file of vectors ({error}); nearfar embed writes one"
        ) from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f" or not found.shape[1]:
        raise InputError(f"{path}: must hold floats (n, d), a vector for each row of the table")
    return found


def rows_of(
    path: str, read: Reading, column: str | None, vectors: Vectors | None, identity: str | None
) -> tuple[Parts, str | None]:
    """Return the rows of a table and their vectors, thousands at a time, and the column of their ids.

    identity: that column; by default one called id or _id. Where there is none, ids are of the texts (`ContentIds`).

    Errors: those of the table; `InputError` where it has no texts and no ids, or another number of vectors.
    """

    table = read.table(path)
    table = table.rows_of_all_splits() or table
    if identity is not None and identity not in table.columns:
        raise InputError(f"{path}: --id {identity}: no such column; {nearest(identity, table.columns)}")
    identity = identity or next((name for name in _IDS if name in table.columns), None)
    text = column or next((name for name in TEXT_COLUMNS if name in table.columns and name != identity), None)
    if identity is None and text is None and vectors is not None:
        raise InputError(
            f"{path}: has no column id, by which rows are replaced and deleted, and no texts to take ids from; "
            f"name one by --id or --column; columns: {listed(table.columns)}"
        )
    if text is None and vectors is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {listed(table.columns)}")
    if vectors is not None and len(vectors) != len(table):
        raise InputError(
            f"{path}: has {len(table):,} rows, and there are {len(vectors):,} vectors; one for each is needed"
        )
    ids = None if identity is None else table.column(identity)
    texts = None if text is None else table.text(text, empty=vectors is not None)
    others = {name: table.column(name) for name in table.columns if name not in (identity, text)}

    def parts() -> Parts:
        of_content = ContentIds()
        for start in range(0, len(table), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(table))
            cells = None if texts is None else texts.read(start, stop)
            names = ids.read(start, stop) if ids is not None else [of_content.next(cell or "") for cell in cells or []]
            rows: list[dict[str, Any]] = [{"id": name} for name in names]
            if cells is not None:
                rows = [{**row, "text": cell} for row, cell in zip(rows, cells)]
            for name, other in others.items():
                for row, cell in zip(rows, other.read(start, stop)):
                    if (value := _value(cell)) is not None:
                        row[name] = value
            yield rows, None if vectors is None else vectors[start:stop]

    return parts(), identity


def _value(cell: Any) -> Any:
    """Return a cell as a field's value; None for what is none: lists, objects, bytes, numbers that are not finite."""
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float | Decimal):
        return float(cell) if math.isfinite(cell) else None
    return cell if isinstance(cell, str | int) else None
