"""An index that is open: it follows what other processes write, and writes alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from nearfar.errors import ChangedMeanwhileError, InputError
from nearfar.index.filters import Filter, checked
from nearfar.index.folder import Generation, IndexFolder
from nearfar.index.rows import Kinds, Rows
from nearfar.index.store import RowStore


class OtherModelError(InputError):
    """The generation that is searched now is of another model than the one that was opened."""


class Opened:
    """A generation of a folder and its store. number: of the generation; None is always the current one."""

    def __init__(self, folder: IndexFolder, number: int | None = None) -> None:
        self.folder, self._pinned = folder, number
        self._turn = threading.RLock()
        self._opened: tuple[int, Generation, RowStore] | None = None
        self._closed = self._has_written = False
        self._space: tuple[str | None, int] | None = None
        with self.reading():
            pass  # raises where it cannot be opened

    @contextmanager
    def reading(self) -> Iterator[tuple[Generation, RowStore]]:
        """Give the generation as it is now, and its store; threads take turns."""
        with self._turn:
            yield self._refreshed()

    def rows(self, size: int) -> Iterator[Rows]:
        """Yield all rows, as `Index.rows` does; between two parts other threads have their turn."""
        with self.reading() as (_, store):
            parts = store.backend.scan(size)
        while True:
            with self.reading() as (_, now):
                if now is not store:
                    what = "another generation took its place, or it got new fields, while its rows were read"
                    raise ChangedMeanwhileError(f"{self.folder.path}: {what}; read them again")
                rows = next(parts, None)
            if rows is None:
                return
            yield rows

    @contextmanager
    def writing(self) -> Iterator[tuple[Generation, RowStore]]:
        """Be the only writer; what another has left undone is done first.

        Errors: `RunError` where another writer does not end.
        """
        with self._turn, self.folder.lock():
            generation, store = self._refreshed()
            store.recover()
            yield generation, store
            self._has_written = True

    def expect(self, generation: Generation) -> None:
        """Take the space of a generation for that of all rows and queries to come."""
        self._space = generation.fingerprint, generation.dim

    def refuse_another(self, now: Generation) -> None:
        """Refuse rows and queries where a generation of another model was swapped in since this one was opened."""
        if (now.fingerprint, now.dim) != self._space:
            what = f"a generation of another model has taken its place ({now.model or now.fingerprint})"
            raise OtherModelError(f"{self.folder.path}: {what}; open it again with that model")

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields, while writing."""
        generation, store = self._refreshed()
        if fields:
            store.add_fields(fields)
            self.update(replace(generation, fields={**generation.fields, **fields}))

    def update(self, generation: Generation) -> None:
        """Write what `index.json` says of this generation, while writing."""
        number, _, store = self._opened or self._missing()
        self.folder.write(self.folder.contents().with_one(number, generation))
        self._opened = number, generation, store

    def filter(self, where: str | Filter | None) -> Filter | None:
        """Return a checked filter. Errors: `InputError` for what is none, or for none of these fields."""
        fields = self._refreshed()[1].fields
        if isinstance(where, str):
            from nearfar.index.parse_filter import parse  # its parser takes a tenth of a second to be made

            return parse(where, fields)
        return None if where is None else checked(where, fields)

    @property
    def number(self) -> int:
        """The number of the generation."""
        return (self._opened or self._missing())[0]

    def close(self) -> None:
        """Let go of files and connections; say in `index.json` what was written."""
        with self._turn:
            try:
                if self._has_written and self._opened is not None:
                    self._describe()
            finally:
                if self._opened is not None:
                    self._opened[2].close()
                self._opened, self._closed = None, True

    def _refreshed(self) -> tuple[Generation, RowStore]:
        """Return what is current; open it anew where another process swapped it or added fields."""
        if self._closed:
            self._missing()
        contents = self.folder.contents()
        number = contents.current if self._pinned is None else self._pinned
        generation = contents.generations.get(number)
        if generation is None:
            raise InputError(f"{self.folder.path}: generation {number} is not there any more; open the index again")
        before, self._opened = self._opened, None
        if before is not None and before[0] == number and before[1].fields == generation.fields:
            self._opened = number, generation, before[2]
        else:
            if before is not None:
                before[2].close()
            self._opened = number, generation, RowStore(self.folder.place(number), generation)
        return self._opened[1:]

    def _describe(self) -> None:
        """Bring `index.json` up to date, which `words.db` always is."""
        with self.folder.lock():
            number, _, store = self._opened or self._missing()
            contents = self.folder.contents()
            if number in contents.generations:
                now = counted(contents.generations[number], store)
                if now != contents.generations[number]:
                    self.folder.write(contents.with_one(number, now))

    def _missing(self) -> tuple[int, Generation, RowStore]:
        raise InputError(f"{self.folder.path}: the index is closed; open it again")


def counted(generation: Generation, store: RowStore) -> Generation:
    """Return what holds for a generation as of the last write that ended."""
    totals = store.totals()
    return replace(generation, rows=totals.rows, digest=totals.digest, language=totals.language)
