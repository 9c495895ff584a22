"""The thumbnails of an index's rows: a file beside them, which moves with the index and is made when there is one.

A row may have none. It never has that of another row, or of a picture that it no longer has: thumbnails of rows that
are replaced are removed first, and those of rows that go are removed before a write counts as done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nearfar.index.sqlite_file import SqliteFile

FILE = "thumbnails.db"


@dataclass(frozen=True)
class ThumbnailTotals:
    """How many there are, and their bytes in all."""

    count: int = 0
    bytes: int = 0


class Thumbnails:
    """JPEGs by the ids of rows. What is removed is overwritten in the file. Errors: those of `SqliteFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: SqliteFile | None = None

    def get(self, name: str) -> bytes | None:
        """Return the thumbnail of a row; None where it has none."""
        if (file := self._opened()) is None:
            return None
        with file.reading():
            found = file.do("SELECT picture FROM thumbnails WHERE id = ?", [name]).fetchone()
        return None if found is None else bytes(found[0])

    def among(self, ids: Sequence[str]) -> set[str]:
        """Return those ids whose rows have one."""
        if (file := self._opened()) is None:
            return set()
        with file.reading():
            return {name for (name,) in file.among("SELECT id FROM thumbnails WHERE id IN", ids)}

    def ids(self) -> list[str]:
        """Return the ids of all rows that have one."""
        if (file := self._opened()) is None:
            return []
        with file.reading():
            return [name for (name,) in file.do("SELECT id FROM thumbnails")]

    def totals(self) -> ThumbnailTotals:
        """Return how many there are, and their bytes."""
        if (file := self._opened()) is None:
            return ThumbnailTotals()
        with file.reading():
            found = file.do("SELECT count(*), total(length(picture)) FROM thumbnails").fetchone()
        return ThumbnailTotals(*map(int, found))

    def add(self, pictures: Mapping[str, bytes]) -> None:
        """Add thumbnails by id, or replace those of their ids."""
        if pictures and (file := self._opened(create=True)) is not None:
            with file.writing():
                file.do_many("INSERT OR REPLACE INTO thumbnails (id, picture) VALUES (?, ?)", pictures.items())

    def remove(self, ids: Sequence[str]) -> None:
        """Remove those of some ids, where they have any."""
        gone = self.among(ids)
        if gone and (file := self._opened()) is not None:
            with file.writing():
                file.do_many("DELETE FROM thumbnails WHERE id = ?", [(name,) for name in gone])

    def clear(self) -> None:
        """Remove all of them, and give their place on the disk back."""
        if (file := self._opened()) is not None:
            with file.writing():
                file.do("DELETE FROM thumbnails")
            file.shrink()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self, *, create: bool = False) -> SqliteFile | None:
        """Return the file; None where there is none, as another process may make it at any time."""
        if self._file is None and (create or self._path.is_file()):
            file = SqliteFile(self._path, create=True)
            try:
                file.do("PRAGMA secure_delete = ON")  # no part of a photograph that was removed stays in the file
                if create:
                    with file.writing():
                        file.do("CREATE TABLE IF NOT EXISTS thumbnails (id TEXT PRIMARY KEY, picture BLOB NOT NULL)")
                with file.reading():
                    is_made = file.do("SELECT 1 FROM sqlite_master WHERE name = 'thumbnails'").fetchone()
                if not is_made:  # another process is making it, or was ended at that
                    file.close()
                    return None
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file
