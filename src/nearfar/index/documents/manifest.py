"""The manifest of an index that was built from documents: which file gave which rows, as they are stored.

It is what makes a build incremental, and one that was broken off go on. The order of writes keeps it true whenever the
process ends: ids are noted before their rows are written, and removed after their rows are; a file is noted as done
after all of its rows. So each row of the index that came from a document is in the manifest.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nearfar.errors import InputError
from nearfar.index.documents.embed_files import FileOutcome
from nearfar.index.documents.find_files import FoundFile
from nearfar.index.sqlite_file import SqliteFile

FORMAT = 1
_SETTLED = 2_000_000_000  # nanoseconds; a file that changed later before it was read may change again in the same tick
_TABLES = (
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, "
    "digest TEXT NOT NULL, kind TEXT NOT NULL, characters_in INTEGER NOT NULL, characters_out INTEGER NOT NULL, "
    "problems TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS passages (file TEXT NOT NULL, id TEXT NOT NULL, fields TEXT NOT NULL, "
    "PRIMARY KEY (file, id)) WITHOUT ROWID",
)
_FORGET_FILES = "UPDATE files SET size = -1, changed = 0, digest = ''"


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when its rows were written; changed: 0 where its time says nothing."""

    size: int
    changed: int
    digest: str


@dataclass(frozen=True)
class FileTotals:
    """What all files give together: their number by kind, passages, characters, and lines about problems."""

    kinds: Counter[str]
    passages: int
    characters_in: int
    characters_out: int
    problems: list[str]


class Manifest:
    """A file of SQLite. An id in `passages` without a digest of fields is of a row that may not be written yet.

    Errors of all methods: those of `SqliteFile`.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open or make it. Errors: those of `SqliteFile`; `InputError` where it is of another version."""
        with closing(SqliteFile(path, create=True)) as file:
            with file.writing():
                for statement in _TABLES:
                    file.do(statement)
                file.do("INSERT OR IGNORE INTO settings VALUES ('format', ?)", [json.dumps(FORMAT)])
            manifest = cls(file)
            if (found := manifest.settings()["format"]) != FORMAT:
                raise InputError(f"{path}: is of format {found}, this nearfar writes {FORMAT}; build a new index")
            yield manifest

    def settings(self) -> dict[str, Any]:
        """Return what the rows were made with."""
        with self._file.reading():
            return {name: json.loads(value) for name, value in self._file.do("SELECT name, value FROM settings")}

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Set what the rows are made with; where one that was known is another now, no file counts as done."""
        old = self.settings()
        changed = {name: value for name, value in settings.items() if name not in old or old[name] != value}
        if changed:
            with self._file.writing():
                if changed.keys() & old.keys():
                    self._file.do(_FORGET_FILES)
                rows = [(name, json.dumps(value)) for name, value in changed.items()]
                self._file.do_many("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def keep_source(self, source: str) -> None:
        """Set where the documents are."""
        with self._file.writing():
            self._file.do("INSERT OR REPLACE INTO settings VALUES ('source', ?)", [json.dumps(source)])

    def forget_files(self, names: Sequence[str] | None = None) -> None:
        """Let files be read again, or every one; the rows of passages that are as they were need no vector then."""
        if names is None:
            with self._file.writing():
                self._file.do(_FORGET_FILES)
        elif names:
            with self._file.writing():
                self._file.do_many(f"{_FORGET_FILES} WHERE name = ?", [(name,) for name in names])

    def kind_of(self, name: str) -> str | None:
        """Return the kind of a file as it was read last; None of one that is new."""
        with self._file.reading():
            found = self._file.do("SELECT kind FROM files WHERE name = ?", [name]).fetchone()
            return None if found is None else str(found[0])

    def rows_of_kinds(self, kinds: Sequence[str], size: int) -> Iterator[list[tuple[str, str]]]:
        """Yield the files and ids of the rows of all files of some kinds, at most `size` at a time."""
        marks, last = ", ".join("?" * len(kinds)), ("", "")
        while True:
            with self._file.reading():
                rows = self._file.do(
                    # The order of the join is that of writing, so that passages of other kinds are not looked at.
                    f"SELECT name, id FROM files CROSS JOIN passages ON file = name WHERE kind IN ({marks}) "
                    "AND name >= ? AND (name, id) > (?, ?) ORDER BY name, id LIMIT ?",
                    [*kinds, last[0], *last, size],
                ).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1]

    def files(self) -> dict[str, StoredFile]:
        """Return the files that are done."""
        with self._file.reading():
            rows = self._file.do("SELECT name, size, changed, digest FROM files")
            return {name: StoredFile(*about) for name, *about in rows}

    def names(self) -> set[str]:
        """Return the names of all files that have, or may have, rows, or are done."""
        with self._file.reading():
            return {name for (name,) in self._file.do("SELECT name FROM files UNION SELECT file FROM passages")}

    def rows_of(self, name: str) -> dict[str, str]:
        """Return the rows of a file: the digests of their fields by id, "" where a row may not be written."""
        with self._file.reading():
            return dict(self._file.do("SELECT id, fields FROM passages WHERE file = ?", [name]))

    def intend(self, owners: Mapping[str, str]) -> None:
        """Note rows that will be written next. owners: the file of each, by id."""
        with self._file.writing():
            rows = [(file, id_) for id_, file in owners.items()]
            self._file.do_many("INSERT INTO passages VALUES (?, ?, '') ON CONFLICT DO UPDATE SET fields = ''", rows)

    def written(self, digests: Iterable[tuple[str, str, str]]) -> None:
        """Note rows that are written: file, id, digest of the fields."""
        with self._file.writing():
            self._file.do_many(
                "INSERT INTO passages VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fields = excluded.fields", digests
            )

    def removed(self, name: str, ids: Sequence[str]) -> None:
        """Note rows of a file that were removed."""
        with self._file.writing():
            self._file.do_many("DELETE FROM passages WHERE file = ? AND id = ?", [(name, i) for i in ids])

    def done(self, outcomes: Sequence[FileOutcome]) -> None:
        """Note files whose rows are all written, and whose former ones are removed."""
        now = time.time_ns()
        with self._file.writing():
            for outcome in outcomes:
                file = outcome.file
                changed = file.changed if file.changed < now - _SETTLED else 0
                about = (file.name, file.size, changed, outcome.digest, outcome.kind)
                counts = (outcome.characters_in, outcome.characters_out, json.dumps(outcome.lines()))
                self._file.do("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*about, *counts))

    def same(self, files: Sequence[FoundFile]) -> None:
        """Note files whose content is as it was, with another time."""
        now = time.time_ns()
        rows = [(file.changed if file.changed < now - _SETTLED else 0, file.name) for file in files]
        with self._file.writing():
            self._file.do_many("UPDATE files SET changed = ? WHERE name = ?", rows)

    def forget(self, names: Sequence[str]) -> None:
        """Note files that are gone, after their rows were removed."""
        with self._file.writing():
            for table, column in (("files", "name"), ("passages", "file")):
                self._file.do_many(f"DELETE FROM {table} WHERE {column} = ?", [(name,) for name in names])

    def totals(self) -> FileTotals:
        """Return what all files give together."""
        with self._file.reading():
            kinds = Counter(dict(self._file.do("SELECT kind, count(*) FROM files GROUP BY kind")))
            (passages,) = self._file.do("SELECT count(*) FROM passages WHERE fields != ''").fetchone()
            sums = "SELECT total(characters_in), total(characters_out) FROM files"
            read, kept = self._file.do(sums).fetchone()
            texts = self._file.do("SELECT problems FROM files WHERE problems != '[]' ORDER BY name")
            problems = [line for (text,) in texts for line in json.loads(text)]
            return FileTotals(kinds, passages, int(read), int(kept), problems)
