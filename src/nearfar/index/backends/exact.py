"""Exact search in the project's own files: rows in SQLite, vectors in a file beside it, all compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from nearfar.errors import ChangedMeanwhileError, InputError, listed
from nearfar.index.backends.approximate import Effort
from nearfar.index.backends.backend_settings import exact_settings
from nearfar.index.backends.codes import first_coordinates
from nearfar.index.backends.exact_files import ExactFiles
from nearfar.index.backends.lance_approximate import KNOWN as LANCE
from nearfar.index.backends.pgvector_approximate import KNOWN as PGVECTOR
from nearfar.index.backends.rows_table import RowsTable, Slots, State
from nearfar.index.filters import Filter
from nearfar.index.rescore import best, exact_scores
from nearfar.index.rows import Kinds, Nearest, Row, Rows, Value, Vectors
from nearfar.index.scan import FEW, Scan, rounding

_T = TypeVar("_T")
_MORE = 256  # candidates beyond `oversample` times k that are scored by whole vectors
_TRIES = 10  # of a read whose files another process's `optimise` replaces
_SCATTERED = 4  # where fewer than one key in so many is allowed, these are picked out


class Exact:
    """The rows of one generation in a folder: `rows.db`, `vectors-N` and, where codes are scanned, `codes-N`.

    settings: {"precision": "float32"}, "float16" (half the disk), or "int8" or "bits": these are compared in place of
    float32 vectors, by which the best candidates are scored again. With int8 the error of each score is bounded, and
    all rows within it are candidates, so that the answer is that of float32; with bits it may miss some. first_dim: so
    many first coordinates are compared, of a model that was trained for it (losses.matryoshka), and whole vectors
    score the candidates, `oversample` times k and 256 more: it may miss some, too, and never comes short.

    Vectors are appended and flushed before the transaction commits that gives their rows a slot, so a process that is
    killed leaves all rows of a call or none. A slot is never used twice in a file: a row that is replaced gets a new
    one, until `optimise` copies what lives into new files.
    """

    def __init__(self, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any], *, create: bool) -> None:
        precision, self._first, self._oversample = exact_settings(settings, dim)
        self.place, self.dim = place, dim
        self._scanned = precision
        self._files: tuple[int, ExactFiles] | None = None
        self._live: tuple[int, npt.NDArray[np.bool_]] | None = None  # by version
        if create:
            place.mkdir(parents=True, exist_ok=True)
        self._table = RowsTable(place / "rows.db", fields, create=create)

    @classmethod
    def create(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Make an empty one. Errors: `InputError` for an unknown precision."""
        return cls(place, dim, fields, settings, create=True)

    @classmethod
    def open(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Open what `create` made. Errors: `InputError` for one that is missing or damaged."""
        return cls(place, dim, fields, settings, create=False)

    @classmethod
    def discard(cls, place: Path, settings: Mapping[str, Any]) -> None:
        """Do nothing: all of it is in the place."""

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields, without a value in the rows that are there."""
        self._table.add_fields(fields)

    def upsert(self, rows: Rows) -> None:
        """Add rows; one of an id that is there replaces it."""
        with self._table.writing() as state:
            state.error = max(state.error, self._open(state.files).write(state.next_slot, rows.vectors))
            removed = self._table.delete(rows.ids)
            self._table.insert(rows, state.next_slot)
            state.rows += len(rows) - removed
            state.next_slot += len(rows)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        with self._table.writing() as state:
            removed = self._table.delete(ids)
            state.rows -= removed
        return removed

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Return the rows of ids, in their order; None where there is none."""
        with self._table.reading():
            found = self._table.get(ids)
        return [found.get(name) for name in ids]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of rows that are there. Errors: `KeyError` naming an id that is not."""

        def read(state: State) -> Vectors:
            slots = self._table.slots_of(ids)
            return self._vectors(state, np.array([slots[name] for name in ids], np.int64))

        return self._read(read)

    def count(self, where: Filter | None = None) -> int:
        """Return the number of rows, or of those that match."""
        with self._table.reading() as state:
            return state.rows if where is None else self._table.count(where)

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        with self._table.reading():
            return self._table.ids(where)

    def value_counts(self, field: str, where: Filter | None = None, most: int = 50) -> dict[Value, int] | None:
        """Return how many rows have each value of a field; None where there are more than `most` values."""
        with self._table.reading():
            return self._table.value_counts(field, where, most)

    def scan(self, size: int = 4096) -> Iterator[Rows]:
        """Yield all rows with their vectors, at most `size` at a time, in the order in which they were written.

        Errors: `ChangedMeanwhileError` where they were copied into new files, in which their slots are others.
        """
        after = -1
        begun: int | None = None  # the number of the files
        while True:
            files, page, rows = self._read(lambda state, after=after: self._page(state, after, size))  # type: ignore[misc]
            if begun not in (None, files):
                what = "its rows were copied into new files while they were read; read them again"
                raise ChangedMeanwhileError(f"{self.place}: {what}")
            if not page:
                return
            yield rows
            after, begun = page[-1], files

    def nearest(
        self,
        queries: Vectors,
        k: int,
        where: Filter | None = None,
        *,
        approximate: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[Nearest]:
        """Return for each query (n, d) the k rows of largest inner product among those that match, all where fewer do.

        approximate: nothing, as every row is compared.
        """
        return self._read(lambda state: self._nearest(state, np.asarray(queries, np.float32), k, where))

    def effort(self, settings: Mapping[str, Any]) -> Effort:
        """Refuse it: this backend compares all rows. Errors: `InputError` naming those that have the index."""
        raise InputError(
            f"approximate: the backend exact has no index {settings.get('name')!r:.40}, comparing every row; lance "
            f"has {listed(list(LANCE))}, pgvector {listed(list(PGVECTOR))}: build the index anew with one of these"
        )

    def build_approximate(self, settings: Mapping[str, Any]) -> None:
        """Refuse it, as `effort` does."""
        self.effort(settings)

    def drop_approximate(self) -> None:
        """Do nothing: there is none."""

    def optimise(self) -> None:
        """Copy the vectors of the rows that are there into new files, where others take up space.

        float32 vectors of 10,000 rows or more get leading coordinates beside them (`Leading`), where they help.
        """
        try:
            number = self._copied()
        except BaseException:
            self._files = None  # of a number that another process may give to other files
            raise
        if number is None:
            return
        for path in self.place.glob("*-[0-9]*"):
            if not path.name.endswith(f"-{number:06}"):  # a reader that has it open reads on
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        self._table.close()
        self._files = self._live = None

    def _copied(self) -> int | None:
        """Write the files anew without what is gone; return their number, None where nothing would be gained."""
        with self._table.writing() as state:
            slots, before, is_whole = self._table.slots(), self._open(state.files), state.rows == state.next_slot
            if is_whole and before.leading is not None:
                return None
            helps = before.with_leading(self.place, state.files + 1, state.next_slot, slots)
            if is_whole and not helps:
                return None
            state.files += 1
            self._open(state.files).copy(state.next_slot, slots, before)
            self._table.renumber()
            state.next_slot = len(slots)
            return state.files

    def _nearest(self, state: State, queries: Vectors, k: int, where: Filter | None) -> list[Nearest]:
        slots = None if where is None else self._table.slots(where)
        total = state.rows if slots is None else len(slots)
        if not total or not len(queries):
            return [Nearest([], np.empty(0, np.float32)) for _ in queries]
        wanted = min(total, k if self._oversample is None else self._oversample * k + _MORE)
        left = self._left(queries, wanted, state, slots)
        if left is None:
            compared = first_coordinates(queries, self._first)
            slack = 2 * (rounding(self._first + 1) + state.error) * np.linalg.norm(compared, axis=1)
            scan = Scan(compared, wanted, slack.astype(np.float32))
            self._compare(scan, state, slots)
            left = scan.candidates()
        return [self._ranked(state, query, found, k) for query, found in zip(queries, left)]

    def _ranked(self, state: State, query: Vectors, slots: Slots, k: int) -> Nearest:
        """Return the k best of candidates by their vectors; only ids of those that may be among them are read."""
        scores = exact_scores(query, self._vectors(state, slots))
        if len(slots) > k:
            kept = scores >= np.partition(scores, -k)[-k]
            slots, scores = slots[kept], scores[kept]
        return best(self._table.ids_of(slots), scores, k)

    def _compare(self, scan: Scan, state: State, slots: Slots | None) -> None:
        """Compare the rows of slots (None: all) with a scan's queries."""
        files = self._open(state.files)
        if slots is not None and len(slots) * _SCATTERED < state.next_slot:
            files.compare(scan, state.next_slot, slots)
        else:
            files.compare_all(scan, state.next_slot, self._allowed(state, slots))

    def _left(self, queries: Vectors, k: int, state: State, slots: Slots | None) -> list[Slots] | None:
        """Return for each query which slots may be among the k best, by leading coordinates; None: compare all.

        Many queries at once are compared by one product of matrices, which is as fast.
        """
        leading, count = self._open(state.files).leading, state.next_slot
        if leading is None or len(queries) >= FEW or (slots is not None and len(slots) * _SCATTERED < count):
            return None
        allowed, left = self._allowed(state, slots), list[Slots]()
        for query in queries:
            found = leading.left(query, k, count, allowed, lambda chosen: self._vectors(state, chosen))
            if found is None:
                return None
            left.append(found)
        return left

    def _allowed(self, state: State, slots: Slots | None) -> npt.NDArray[np.bool_] | None:
        """Return which slots may be found, (next_slot,); None is all."""
        if slots is None:
            return self._living(state) if state.rows < state.next_slot else None
        allowed = np.zeros(state.next_slot, bool)
        allowed[slots] = True
        return allowed

    def _living(self, state: State) -> npt.NDArray[np.bool_]:
        """Return which slots have a row, (next_slot,)."""
        if self._live is None or self._live[0] != state.version:
            living = np.zeros(state.next_slot, bool)
            living[self._table.slots()] = True
            self._live = state.version, living
        return self._live[1]

    def _page(self, state: State, after: int, size: int) -> tuple[int, list[int], Rows]:
        page = self._table.page(after, size)
        slots, rows = [slot for slot, _ in page], [row for _, row in page]
        fields = {name: [row.fields.get(name) for row in rows] for name in self._table.fields}
        vectors = self._vectors(state, np.array(slots, np.int64))
        return state.files, slots, Rows([row.id for row in rows], vectors, [row.text for row in rows], fields)

    def _vectors(self, state: State, slots: Slots) -> Vectors:
        return self._open(state.files).vectors(state.next_slot, slots)

    def _open(self, number: int) -> ExactFiles:
        if self._files is None or self._files[0] != number:
            self._files = number, ExactFiles(self.place, number, self._scanned, self.dim, self._first)
        return self._files[1]

    def _read(self, read: Callable[[State], _T]) -> _T:
        """Read in one transaction; again where another process replaced the files between."""
        for left in reversed(range(_TRIES)):
            with self._table.reading() as state:
                try:
                    return read(state)
                except FileNotFoundError as missing:
                    if not left:
                        raise InputError(f"{missing.filename}: is missing; build the index again") from missing
        raise AssertionError  # the last try returned or raised
