"""An SQLite file in transactions, for threads that take turns and processes that wait for each other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nearfar.errors import InputError, RunError

_AT_ONCE = 5000  # parameters of a statement, of which SQLite takes 32,766
_PATIENCE = 60  # seconds to wait for another process's write


class SqliteFile:
    """A file of tables. What is read in one transaction belongs together; what is written is there whole or not.

    A commit is flushed to the disk (WAL, synchronous=FULL), so that it survives a power cut, too. One that is not may
    be undone by that, as if it had not been, but not by the end of the process.

    Errors: `InputError` for a file that is missing (unless it is made) or damaged; `RunError` for a full disk.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._turn = threading.RLock()
        if not create and not path.is_file():
            raise InputError(f"{path}: is missing, so this index cannot be read; build it again")
        with self._explained():
            self._base = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read in one transaction, which sees the file as it is at the first read."""
        with self._transaction("DEFERRED"):
            yield

    @contextmanager
    def writing(self, *, flush: bool = True) -> Iterator[None]:
        """Write in one transaction, which an exception undoes. flush: to the disk, before it ends."""
        with self._turn:
            self.do(f"PRAGMA synchronous={'FULL' if flush else 'NORMAL'}")
            with self._transaction("IMMEDIATE"):
                yield

    def do(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement, in a transaction."""
        return self._base.execute(statement, parameters)

    def do_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters, in a transaction."""
        self._base.executemany(statement, rows)

    def among(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows of a statement that ends in IN, for any number of values."""
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            yield from self.do(f"{statement} ({', '.join('?' * len(part))})", part).fetchall()

    def shrink(self) -> None:
        """Give back what was deleted, outside of a transaction."""
        with self._turn, self._explained():
            self.do("VACUUM")

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._base.close()

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with self._turn, self._explained():
            self.do(f"BEGIN {kind}")
            try:
                yield
            except BaseException:
                self._base.rollback()
                raise
            self.do("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is wrong with the file: the disk is full, or it is no database."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a mistake of ours
        except sqlite3.OperationalError as error:
            raise RunError(
                f"{self.path}: not readable or writable ({error}); free space, or see who holds it"
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path}: is damaged ({error}); build the index again") from error
