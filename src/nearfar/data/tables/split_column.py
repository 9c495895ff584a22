"""A column that names the split of each row: train, dev or test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nearfar.column import Ids
from nearfar.data.tables.cells import is_text
from nearfar.data.tables.files import SPLITS, split_name
from nearfar.data.tables.read import concatenated
from nearfar.data.tables.row_locator import LocatedTable
from nearfar.data.tables.selection import Selection
from nearfar.errors import InputError, nearest

SPLIT_COLUMN = "split"  # the name that is recognised, in any case
_MOST_SPLITS = 20  # distinct values of a column of splits, at most


def named_splits(
    tables: dict[str, LocatedTable], column: str | None = SPLIT_COLUMN
) -> tuple[dict[str, Selection], LocatedTable | None, dict[str, Any]]:
    """Return the rows of each split, the table whose column names them (None: files do), and what to note of it.

    tables: what is read, by the splits that files name.

    column: the one that names splits. `split` is recognised; another one must be there, must name splits, and goes
    before the files' names.

    Errors: InputError for a column that is named and missing, or whose values are no splits.
    """
    by_files = {name: Selection(table) for name, table in tables.items()}
    if column is None:
        return by_files, None, {}
    recognised = column == SPLIT_COLUMN
    first = next(iter(tables.values()))
    name = _found(first, column) if recognised else column
    if recognised and (name is None or len(tables) > 1):
        read = name is not None and any((own := _found(t, column)) and _values(t, own) for t in tables.values())
        return by_files, None, {"splits": f"by the names of files, not by their column {name!r}"} if read else {}
    whole = first if len(tables) == 1 else concatenated(list(tables.values()))
    if name not in whole.table.column_names:
        raise InputError(
            f"{whole.where}: no column {name!r} of splits; {nearest(str(name), whole.table.column_names)}; "
            "split_column=null reads none"
        )
    splits = _values(whole, name)
    if splits is None:
        if recognised:
            return by_files, None, {}
        raise InputError(
            f"{whole.where}, column {name!r}: its values name no splits; write train, validation or test in each row, "
            "or name another column with split_column"
        )
    rows = _rows(whole, name, splits)
    left = whole.table.num_rows - sum(map(len, rows.values()))
    if not left and list(rows) == list(tables):  # all rows are in the one split that they are in anyway
        return by_files, None, {}
    said = ", ".join(f"{len(numbers):,} {split}" for split, numbers in rows.items())
    nowhere = f"; {left:,} rows with an empty cell are in none" if left else ""
    notes = {"split column": name, "splits": f"by the column {name!r}: {said}{nowhere}"}
    return {split: Selection(whole, numbers) for split, numbers in rows.items()}, whole, notes


def _found(table: LocatedTable, column: str) -> str | None:
    """Return the column of a table that has a name, in any case; the one that is written alike first."""
    names = sorted(table.table.column_names, key=lambda name: name != column)
    return next((name for name in names if name.lower() == column), None)


def _values(table: LocatedTable, name: str) -> dict[str, str] | None:
    """Return the split that each value of a column names; None where it is no column of splits.

    That is one whose values all name a split, or of which some say train, some another split, and some neither.
    """
    if not is_text(table.table.schema.field(name).type):
        return None
    unique = pc.unique(_cells(table, name)).to_pylist()
    values = [value for value in unique if value is not None and value.strip()]
    named = {value: split_name(value) for value in values[: _MOST_SPLITS + 1]}
    known = {split for split in named.values() if split is not None}
    if not known or len(values) > _MOST_SPLITS:
        return None
    if None in named.values() and not ("train" in known and len(known) > 1):
        return None
    return {value: split or value.strip() for value, split in named.items()}


def _cells(table: LocatedTable, name: str) -> Any:
    column = table.table.column(name)
    return column.cast(pa.large_string()) if column.type == pa.string_view() else column  # Arrow cannot look those up


def _rows(table: LocatedTable, name: str, splits: dict[str, str]) -> dict[str, Ids]:
    """Return the rows of each split, ascending; splits by the values of the column."""
    order = sorted(dict.fromkeys(splits.values()), key=lambda one: SPLITS.index(one) if one in SPLITS else len(SPLITS))
    column = _cells(table, name)
    codes = pc.fill_null(pc.index_in(column, pa.array(list(splits), column.type)), -1).to_numpy()  # (n,)
    code_of = np.array([order.index(split) for split in splits.values()])
    place = np.where(codes >= 0, code_of[codes], -1)  # (n,)
    return {split: np.flatnonzero(place == i) for i, split in enumerate(order)}
