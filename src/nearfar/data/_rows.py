"""Rows that are Python dictionaries: as an Arrow table, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Number
from typing import Any

import pyarrow as pa

from nearfar.errors import InputError


def table_of(where: str, rows: Sequence[Any]) -> pa.Table:
    """Return dictionaries as a table whose columns are all their names, in order of appearance.

    Errors: a row that is no dictionary, mixed types in one column, text that is not Unicode: with the row.
    """
    try:
        names = list(dict.fromkeys(name for row in rows for name in row.keys()))  # noqa: SIM118 (a list has no keys)
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError) as error:
        kinds = Kinds()
        for number, row in enumerate(rows, start=1):
            if problem := kinds.problem(row, f"row {number}"):
                raise InputError(f"{where}: row {number}{problem}") from error
        raise InputError(f"{where}: the rows do not make a table ({str(error)[:200]}); use plain values") from error


class Kinds:
    """Remembers what kind of value each column holds, to name the row that breaks it."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}

    def problem(self, row: Any, place: str) -> str | None:
        """Return what is wrong with one row, or None."""
        if not isinstance(row, dict):
            return f" is {_kind(row) or 'null'}, not an object with column names; write {{'column': value, ...}}"
        for name, cell in row.items():
            if not isinstance(name, str):
                return f": the column name {name!r} is not text; use a string"
            for path, kind, leaf in _leaves(name, cell):
                if kind == "text" and _surrogate(path + leaf):
                    return f", column {name!r}: holds half a surrogate pair, which is no Unicode text; remove it"
                before, where = self.seen.setdefault(path, (kind, place))
                if before != kind:
                    return f", column {path!r}: holds {kind} where {where} has {before}; give all rows one type"
        return None


def _leaves(path: str, cell: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the kind and the text of a cell and of what is inside it; nulls fit everywhere."""
    kind = _kind(cell)
    if kind is None:
        return
    yield path, kind, cell if isinstance(cell, str) else ""
    if isinstance(cell, dict):
        for name, inner in cell.items():
            yield from _leaves(f"{path}.{name}", inner)
    elif isinstance(cell, list | tuple):
        for inner in cell:
            yield from _leaves(f"{path}[]", inner)


def _kind(cell: Any) -> str | None:
    if cell is None:
        return None
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (str, "text"),
        (bool, "true or false"),  # before numbers: Python counts it among them
        (Number, "a number"),
        ((list, tuple), "a list"),
        (dict, "an object"),
    ]
    return next((name for kind, name in kinds if isinstance(cell, kind)), type(cell).__name__)


def _surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
