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
from nearfar.errors import InputError, listed

if TYPE_CHECKING:
    from nearfar.evaluation.sources import Reading

_AT_ONCE = 10_000  # rows of one write
_IDS = ("id", "_id")
Vectors = npt.NDArray[Any]


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
    path: str, read: Reading, column: str | None, vectors: Vectors | None
) -> Iterator[tuple[list[dict[str, Any]], Vectors | None]]:
    """Return an iterator over the rows of a table and their vectors, thousands at a time.

    Errors: those of the table; `InputError` where it has no ids or no texts, or another number of vectors.
    """

    table = read.table(path)
    table = table.rows_of_all_splits() or table
    identity = next((name for name in _IDS if name in table.columns), None)
    text = column or next((name for name in TEXT_COLUMNS if name in table.columns), None)
    if identity is None:
        raise InputError(
            f"{path}: has no column id, by which rows are replaced and deleted; columns: {listed(table.columns)}"
        )
    if text is None and vectors is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {listed(table.columns)}")
    if vectors is not None and len(vectors) != len(table):
        raise InputError(
            f"{path}: has {len(table):,} rows, and there are {len(vectors):,} vectors; one for each is needed"
        )
    ids, texts = table.column(identity), None if text is None else table.text(text, empty=vectors is not None)
    others = {name: table.column(name) for name in table.columns if name not in (identity, text)}

    def parts() -> Iterator[tuple[list[dict[str, Any]], Vectors | None]]:
        for start in range(0, len(table), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(table))
            rows = [{"id": cell} for cell in ids.read(start, stop)]
            if texts is not None:
                rows = [{**row, "text": cell} for row, cell in zip(rows, texts.read(start, stop))]
            for name, cells in others.items():
                for row, cell in zip(rows, cells.read(start, stop)):
                    if (value := _value(cell)) is not None:
                        row[name] = value
            yield rows, None if vectors is None else vectors[start:stop]

    return parts()


def _value(cell: Any) -> Any:
    """Return a cell as a field's value; None for what is none: lists, objects, bytes, numbers that are not finite."""
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float | Decimal):
        return float(cell) if math.isfinite(cell) else None
    return cell if isinstance(cell, str | int) else None
