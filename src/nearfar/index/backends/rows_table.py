"""Ids, fields and texts of rows in an SQLite file; each row has a slot, its place in the files of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.index.filter_sql import compiled, quoted
from nearfar.index.filters import Filter
from nearfar.index.rows import Kinds, Row, Rows, Value
from nearfar.index.sqlite_file import SqliteFile

Slots = npt.NDArray[np.int64]


@dataclass
class State:
    """What holds for the table as a whole, as of one transaction.

    version: grows by each write. rows: how many there are. next_slot: the first slot that no row ever had in these
    files. files: the number in their names. error: of the codes, at most.
    """

    version: int = 0
    rows: int = 0
    next_slot: int = 0
    files: int = 1
    error: float = 0.0


class RowsTable:
    """The table, read and written in transactions: the vectors that a commit names were flushed before."""

    def __init__(self, path: Path, fields: Kinds, *, create: bool = False) -> None:
        self.fields = dict(fields)
        self._file = SqliteFile(path, create=create)
        if create:
            with self._file.writing():
                names = "".join(f", {quoted(name, 'sqlite')}" for name in fields)
                self._file.do(f"CREATE TABLE rows (_slot INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE{names})")
                self._file.do("CREATE TABLE texts (_slot INTEGER PRIMARY KEY, text TEXT NOT NULL)")
                self._file.do("CREATE TABLE state (version, rows, next_slot, files, error)")
                self._file.do("INSERT INTO state VALUES (0, 0, 0, 1, 0.0)")

    @contextmanager
    def reading(self) -> Iterator[State]:
        """Read in one transaction, which sees the table as it is at its beginning."""
        with self._file.reading():
            yield self._state()

    @contextmanager
    def writing(self) -> Iterator[State]:
        """Write in one transaction, with what the caller makes of the state."""
        with self._file.writing():
            state = self._state()
            yield state
            values = (state.version + 1, state.rows, state.next_slot, state.files, state.error)
            self._file.do("UPDATE state SET version = ?, rows = ?, next_slot = ?, files = ?, error = ?", values)

    def add_fields(self, fields: Kinds) -> None:
        """Add columns; one that is there already stays."""
        with self._file.writing():
            there = {name for _, name, *_ in self._file.do("PRAGMA table_info(rows)")}
            for name in fields:
                if name not in there:
                    self._file.do(f"ALTER TABLE rows ADD COLUMN {quoted(name, 'sqlite')}")
        self.fields |= fields

    def insert(self, rows: Rows, first: int) -> None:
        """Add rows of new ids in slots from `first` on."""
        names = list(rows.fields)
        columns = "".join(f", {quoted(name, 'sqlite')}" for name in names)
        slots = range(first, first + len(rows))
        values = zip(slots, rows.ids, *(rows.fields[name] for name in names))
        self._file.do_many(
            f"INSERT INTO rows (_slot, id{columns}) VALUES (?, ?{', ?' * len(names)})",
            values,
        )
        texts = ((slot, text) for slot, text in zip(slots, rows.texts) if text is not None)
        self._file.do_many("INSERT INTO texts VALUES (?, ?)", texts)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        slots = [(slot,) for _, slot in self._file.among("SELECT id, _slot FROM rows WHERE id IN", ids)]
        self._file.do_many("DELETE FROM rows WHERE _slot = ?", slots)
        self._file.do_many("DELETE FROM texts WHERE _slot = ?", slots)
        return len(slots)

    def slots(self, where: Filter | None = None) -> Slots:
        """Return the slots of all rows, or of those that match, ascending."""
        condition, parameters = compiled(where, "sqlite")
        found = self._file.do(f"SELECT _slot FROM rows WHERE {condition}", parameters)
        return np.sort(np.fromiter((slot for (slot,) in found), np.int64))

    def slots_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the slots of those ids that are there."""
        return dict(self._file.among("SELECT id, _slot FROM rows WHERE id IN", ids))

    def ids_of(self, slots: Slots) -> list[str]:
        """Return the ids of slots that have a row, in their order."""
        found = dict(self._file.among("SELECT _slot, id FROM rows WHERE _slot IN", slots.tolist()))
        return [found[slot] for slot in slots.tolist()]

    def count(self, where: Filter) -> int:
        """Return how many rows match."""
        condition, parameters = compiled(where, "sqlite")
        (count,) = self._file.do(f"SELECT count(*) FROM rows WHERE {condition}", parameters).fetchone()
        return int(count)

    def value_counts(self, field: str, where: Filter | None, most: int) -> dict[Value, int] | None:
        """Return how many rows have each value of a field; None where there are more than `most` values."""
        (condition, parameters), name = compiled(where, "sqlite"), quoted(field, "sqlite")
        having = f"FROM rows WHERE {name} IS NOT NULL AND {condition}"
        few = f"SELECT DISTINCT {name} {having} LIMIT {most + 1}"  # which ends early where there are many
        if len(self._file.do(few, parameters).fetchall()) > most:
            return None
        kind = self.fields[field]
        found = self._file.do(f"SELECT {name}, count(*) {having} GROUP BY {name}", parameters)
        return {bool(value) if kind == "boolean" else value: count for value, count in found}

    def ids(self, where: Filter | None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        condition, parameters = compiled(where, "sqlite")
        return [name for (name,) in self._file.do(f"SELECT id FROM rows WHERE {condition} ORDER BY id", parameters)]

    def get(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return those rows that are there, by id."""
        found = self._file.among(f"{self._select()} WHERE id IN", ids)
        return {row.id: row for _, row in map(self._row, found)}

    def page(self, after: int, size: int) -> list[tuple[int, Row]]:
        """Return the next rows after a slot with theirs, in the order of slots."""
        found = self._file.do(f"{self._select()} WHERE rows._slot > ? ORDER BY rows._slot LIMIT ?", [after, size])
        return [self._row(row) for row in found]

    def renumber(self) -> None:
        """Give the rows the slots 0, 1, ... in their order."""
        self._file.do(
            "CREATE TEMP TABLE moved AS SELECT _slot, row_number() OVER (ORDER BY _slot) - 1 AS new FROM rows"
        )
        self._file.do("CREATE UNIQUE INDEX temp.moved_slot ON moved (_slot)")
        for table in ("rows", "texts"):  # first to negative ones, which collide with none
            new = f"(SELECT -1 - new FROM moved WHERE moved._slot = {table}._slot)"
            self._file.do(f"UPDATE {table} SET _slot = {new}")
            self._file.do(f"UPDATE {table} SET _slot = -1 - _slot")
        self._file.do("DROP TABLE moved")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _select(self) -> str:
        names = "".join(f", {quoted(name, 'sqlite')}" for name in self.fields)
        return f"SELECT rows._slot, id, text{names} FROM rows LEFT JOIN texts ON texts._slot = rows._slot"

    def _row(self, values: tuple[Any, ...]) -> tuple[int, Row]:
        slot, name, text, *cells = values
        fields: dict[str, Value] = {}
        for (field, kind), value in zip(self.fields.items(), cells):
            if value is not None:
                fields[field] = bool(value) if kind == "boolean" else value
        return slot, Row(name, text, fields)

    def _state(self) -> State:
        return State(*self._file.do("SELECT version, rows, next_slot, files, error FROM state").fetchone())
