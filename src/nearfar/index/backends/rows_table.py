"""Ids, fields and texts of rows in an SQLite file; each row has a slot, its place in the files of vectors."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError, RunError
from nearfar.index.filter_sql import compiled, quoted
from nearfar.index.filters import Filter
from nearfar.index.rows import Kinds, Row, Rows, Value

Slots = npt.NDArray[np.int64]
_AT_ONCE = 5000  # parameters of a statement, of which SQLite takes 32,766
_PATIENCE = 60  # seconds to wait for another process's write


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
    """The table, in transactions: what is read in one belongs together, and what is written is there whole or not.

    Threads take turns. A commit is flushed to the disk (WAL, synchronous=FULL): the vectors that it names were before.
    """

    def __init__(self, path: Path, fields: Kinds, *, create: bool = False) -> None:
        self.path, self.fields = path, dict(fields)
        self._turn = threading.RLock()
        if not create and not path.is_file():
            raise InputError(f"{path}: is missing, so this index cannot be read; build it again")
        with _explained(path):
            self._base = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
        if create:
            with self._transaction("IMMEDIATE"):
                names = "".join(f", {quoted(name, 'sqlite')}" for name in fields)
                self._do(f"CREATE TABLE rows (_slot INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE{names})")
                self._do("CREATE TABLE texts (_slot INTEGER PRIMARY KEY, text TEXT NOT NULL)")
                self._do("CREATE TABLE state (version, rows, next_slot, files, error)")
                self._do("INSERT INTO state VALUES (0, 0, 0, 1, 0.0)")

    @contextmanager
    def reading(self) -> Iterator[State]:
        """Read in one transaction, which sees the table as it is at its beginning."""
        with self._transaction("DEFERRED"):
            yield self._state()

    @contextmanager
    def writing(self) -> Iterator[State]:
        """Write in one transaction, with what the caller makes of the state."""
        with self._transaction("IMMEDIATE"):
            state = self._state()
            yield state
            values = (state.version + 1, state.rows, state.next_slot, state.files, state.error)
            self._do("UPDATE state SET version = ?, rows = ?, next_slot = ?, files = ?, error = ?", values)

    def add_fields(self, fields: Kinds) -> None:
        """Add columns; one that is there already stays."""
        with self._transaction("IMMEDIATE"):
            there = {name for _, name, *_ in self._do("PRAGMA table_info(rows)")}
            for name in fields:
                if name not in there:
                    self._do(f"ALTER TABLE rows ADD COLUMN {quoted(name, 'sqlite')}")
        self.fields |= fields

    def insert(self, rows: Rows, first: int) -> None:
        """Add rows of new ids in slots from `first` on."""
        names = list(rows.fields)
        columns = "".join(f", {quoted(name, 'sqlite')}" for name in names)
        slots = range(first, first + len(rows))
        values = zip(slots, rows.ids, *(rows.fields[name] for name in names))
        self._base.executemany(
            f"INSERT INTO rows (_slot, id{columns}) VALUES (?, ?{', ?' * len(names)})",
            values,
        )
        texts = ((slot, text) for slot, text in zip(slots, rows.texts) if text is not None)
        self._base.executemany("INSERT INTO texts VALUES (?, ?)", texts)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        slots = [(slot,) for _, slot in self._among("SELECT id, _slot FROM rows WHERE id IN", ids)]
        self._base.executemany("DELETE FROM rows WHERE _slot = ?", slots)
        self._base.executemany("DELETE FROM texts WHERE _slot = ?", slots)
        return len(slots)

    def slots(self, where: Filter | None = None) -> Slots:
        """Return the slots of all rows, or of those that match, ascending."""
        condition, parameters = compiled(where, "sqlite")
        found = self._do(f"SELECT _slot FROM rows WHERE {condition}", parameters)
        return np.sort(np.fromiter((slot for (slot,) in found), np.int64))

    def slots_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the slots of those ids that are there."""
        return dict(self._among("SELECT id, _slot FROM rows WHERE id IN", ids))

    def ids_of(self, slots: Slots) -> list[str]:
        """Return the ids of slots that have a row, in their order."""
        found = dict(self._among("SELECT _slot, id FROM rows WHERE _slot IN", slots.tolist()))
        return [found[slot] for slot in slots.tolist()]

    def count(self, where: Filter) -> int:
        """Return how many rows match."""
        condition, parameters = compiled(where, "sqlite")
        (count,) = self._do(f"SELECT count(*) FROM rows WHERE {condition}", parameters).fetchone()
        return int(count)

    def ids(self, where: Filter | None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        condition, parameters = compiled(where, "sqlite")
        return [name for (name,) in self._do(f"SELECT id FROM rows WHERE {condition} ORDER BY id", parameters)]

    def get(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return those rows that are there, by id."""
        found = self._among(f"{self._select()} WHERE id IN", ids)
        return {row.id: row for _, row in map(self._row, found)}

    def page(self, after: int, size: int) -> list[tuple[int, Row]]:
        """Return the next rows after a slot with theirs, in the order of slots."""
        found = self._do(f"{self._select()} WHERE rows._slot > ? ORDER BY rows._slot LIMIT ?", [after, size])
        return [self._row(row) for row in found]

    def renumber(self) -> None:
        """Give the rows the slots 0, 1, ... in their order."""
        self._do("CREATE TEMP TABLE moved AS SELECT _slot, row_number() OVER (ORDER BY _slot) - 1 AS new FROM rows")
        self._do("CREATE UNIQUE INDEX temp.moved_slot ON moved (_slot)")
        for table in ("rows", "texts"):  # first to negative ones, which collide with none
            new = f"(SELECT -1 - new FROM moved WHERE moved._slot = {table}._slot)"
            self._do(f"UPDATE {table} SET _slot = {new}")
            self._do(f"UPDATE {table} SET _slot = -1 - _slot")
        self._do("DROP TABLE moved")

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._base.close()

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

    def _among(self, statement: str, values: Sequence[Any]) -> Iterable[Any]:
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            yield from self._do(f"{statement} ({', '.join('?' * len(part))})", part)

    def _state(self) -> State:
        return State(*self._do("SELECT version, rows, next_slot, files, error FROM state").fetchone())

    def _do(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._base.execute(statement, parameters)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with self._turn, _explained(self.path):
            self._do(f"BEGIN {kind}")
            try:
                yield
            except BaseException:
                self._base.rollback()
                raise
            self._do("COMMIT")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what is wrong with a database: the disk is full, or the file is none."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake of ours
    except sqlite3.OperationalError as error:
        raise RunError(f"{path}: cannot be read or written ({error}); free space, or look who holds it") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: is damaged ({error}); build the index again") from error
