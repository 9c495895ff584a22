"""The rows of a generation in its backend, their words and thumbnails beside it: stores that are kept alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from nearfar.errors import InputError, nearest
from nearfar.index.backend import Backend
from nearfar.index.digest import row_hash
from nearfar.index.folder import Generation
from nearfar.index.postings import IndexedRow, Totals
from nearfar.index.rows import Kinds, Row, Rows, Vectors
from nearfar.index.thumbnails import FILE as THUMBNAILS
from nearfar.index.thumbnails import Thumbnails
from nearfar.index.words import Words
from nearfar.text.language import detect

BACKENDS = ("exact", "lance", "pgvector")
_SETTLED = 200  # texts after which their language is told for good
_AT_ONCE = 4096  # rows that are read at a time


def backend_class(name: str) -> type[Backend]:
    """Return a backend by its name. Errors: `InputError` for an unknown one, or one whose package is not installed."""
    if name == "exact":
        from nearfar.index.backends.exact import Exact

        return Exact
    if name == "lance":
        from nearfar.index.backends.lance import Lance

        return Lance
    if name == "pgvector":
        from nearfar.index.backends.pgvector import Pgvector

        return Pgvector
    raise InputError(f"backend {name!r:.60}: no such one; {nearest(name, BACKENDS)}")


class RowStore:
    """A generation's rows. Whoever writes holds the index's lock.

    Before rows are written their ids are noted in `words.db`; then the backend writes, and thumbnails are written; then
    words and hashes follow what the backend says, and the note goes, in one transaction. A note that a process which
    was killed has left is followed up by the next writer (`recover`).
    """

    def __init__(self, place: Path, generation: Generation, *, create: bool = False) -> None:
        settings = dict(generation.backend)
        kind = backend_class(str(settings.pop("name")))
        self.fields: Kinds = dict(generation.fields)
        if create:
            place.mkdir(parents=True, exist_ok=True)
        make = kind.create if create else kind.open
        self.backend = make(place / "rows", generation.dim, self.fields, settings)
        try:
            self.words = Words(place / "words.db", create=create)
            self.thumbnails = Thumbnails(place / THUMBNAILS)
        except BaseException:
            self.backend.close()
            raise

    @classmethod
    def create(cls, place: Path, generation: Generation, language: str | None) -> Self:
        """Make an empty one in a folder. language: of the texts; "auto" where they will tell it."""
        made = cls(place, generation, create=True)
        if language != "auto":
            made.set_language(language)
        return made

    def totals(self) -> Totals:
        """Return what holds for all rows as of the last write that ended."""
        with self.words.postings.reading() as totals:
            return totals

    def upsert(self, rows: Rows, thumbnails: Mapping[str, bytes] | None = None) -> None:
        """Add rows, or replace those of their ids. thumbnails: of those rows that have one, by id."""
        self.words.postings.begin(rows.ids)
        self.thumbnails.remove(rows.ids)  # first, so that no row has that of a picture which it had before
        self.backend.upsert(rows)
        self.thumbnails.add(thumbnails or {})
        self._follow(rows.ids, indexed_rows(rows))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        self.words.postings.begin(ids)
        removed = self.backend.delete(ids)
        self.thumbnails.remove(ids)
        self._follow(ids, [])
        return removed

    def recover(self) -> None:
        """Follow up the writes that were begun and did not end."""
        pending = self.words.postings.pending()
        if pending:
            self.backend.add_fields(self.fields)
            rows = [row for row in self.backend.get(pending) if row is not None]
            self.thumbnails.remove(list(set(pending) - {row.id for row in rows}))
            vectors = self.backend.vectors([row.id for row in rows])
            self._follow(pending, [indexed_row(row, vector) for row, vector in zip(rows, vectors)])

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields."""
        self.backend.add_fields(fields)
        self.fields |= fields

    def optimise(self) -> None:
        """Do what keeps both fast after many writes."""
        self.backend.optimise()
        if pictured := self.thumbnails.ids():  # an older nearfar that removes rows knows nothing of these
            there = set(self.backend.ids(None))
            self.thumbnails.remove([name for name in pictured if name not in there])
        totals = self.totals()
        if totals.next_slot > 2 * totals.rows:  # most slots are dead
            self._cut_anew(totals.language, settled=totals.settled)

    def settle_language(self) -> None:
        """Tell the language of the texts, and cut all anew where it has stems; for good once there are enough."""
        totals = self.totals()
        if totals.settled or not totals.texts:
            return
        language = detect([text for rows in self.backend.scan(_AT_ONCE) for text in rows.texts if text is not None])
        if totals.texts >= _SETTLED:
            self.set_language(language)
        elif language != totals.language:
            self._cut_anew(language, settled=False)

    def set_language(self, language: str | None) -> None:
        """Cut all texts by a language from now on."""
        totals = self.totals()
        if totals.language == language:
            with self.words.postings.writing() as totals:
                totals.settled = True
        else:
            self._cut_anew(language, settled=True)

    def close(self) -> None:
        """Let go of files and connections."""
        self.backend.close()
        self.words.close()
        self.thumbnails.close()

    def _cut_anew(self, language: str | None, *, settled: bool) -> None:
        with self.words.postings.writing() as totals:
            self.words.settle(totals, language, map(indexed_rows, self.backend.scan(_AT_ONCE)))
            totals.settled = settled

    def _follow(self, ids: Sequence[str], found: Sequence[IndexedRow]) -> None:
        with self.words.postings.writing() as totals:
            self.words.replace(totals, ids, found)


def discard(place: Path, generation: Generation) -> None:
    """Remove the rows of a generation: what a database keeps of them, and their folder."""
    settings = dict(generation.backend)
    backend_class(str(settings.pop("name"))).discard(place / "rows", settings)
    shutil.rmtree(place, ignore_errors=True)


def indexed_rows(rows: Rows) -> list[IndexedRow]:
    """Return rows as their words and hashes count them."""
    fields = [{name: values[i] for name, values in rows.fields.items()} for i in range(len(rows))]
    stored = map(Row, rows.ids, rows.texts, fields)
    return [indexed_row(row, vector) for row, vector in zip(stored, rows.vectors)]


def indexed_row(row: Row, vector: Vectors) -> IndexedRow:
    """Return a row, whose vector is (d,), as its words and hash count it."""
    return IndexedRow(row.id, row.text, row_hash(row.id, row.text, row.fields, vector))
