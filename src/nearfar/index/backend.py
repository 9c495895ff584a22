"""The contract of a backend: what keeps the rows of one generation of an index, and finds the nearest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from nearfar.index.backends.approximate import Effort
from nearfar.index.filters import Filter
from nearfar.index.rows import Kinds, Nearest, Row, Rows, Value, Vectors


@runtime_checkable
class Backend(Protocol):
    """The rows of one generation.

    The caller holds the index's lock while it writes, has checked what it writes (`Rows`), and tells no row twice in a
    call. A write is whole: when it returns, its rows survive the end of the process by any signal, and one that is
    broken off leaves all of its rows or none. Reading needs no lock: a backend that was opened before sees, at its next
    call, what another process has written.

    place: a folder that is the backend's own. settings: of `index.json`, what it needs to find its rows again.
    """

    @classmethod
    def create(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Make an empty one. Errors: `InputError` for settings, or a server that cannot be reached."""
        ...

    @classmethod
    def open(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Open what `create` made. Errors: `InputError` for one that is missing, damaged or of another dimension."""
        ...

    @classmethod
    def discard(cls, place: Path, settings: Mapping[str, Any]) -> None:
        """Remove what `create` made, or began to make, elsewhere than in a place, which the caller removes."""
        ...

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields, without a value in the rows that are there."""
        ...

    def upsert(self, rows: Rows) -> None:
        """Add rows; one of an id that is there replaces it."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        ...

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Return the rows of ids, in their order; None where there is none."""
        ...

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of rows that are there. Errors: `KeyError` naming an id that is not."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """Return the number of rows, or of those that match."""
        ...

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        ...

    def value_counts(self, field: str, where: Filter | None = None, most: int = 50) -> dict[Value, int] | None:
        """Return the values of a field and how many rows have each, of all rows or of those that match; in any order.

        None, where there are more than `most` values. Rows without one are not counted.
        """
        ...

    def scan(self, size: int = 4096) -> Iterator[Rows]:
        """Yield all rows with their vectors, at most `size` at a time, in any order."""
        ...

    def nearest(
        self, queries: Vectors, k: int, where: Filter | None = None, *, approximate: Mapping[str, Any] | None = None
    ) -> list[Nearest]:
        """Return for each query (n, d) the k rows of largest inner product among those that match, all where fewer do.

        approximate: the settings of an approximate index that `build_approximate` built; where it comes short of k,
        the search is exact. Without it, it is exact: every row is compared.
        """
        ...

    def effort(self, settings: Mapping[str, Any]) -> Effort:
        """Return what makes a search by an approximate index find more. Errors: `InputError` for an unknown index."""
        ...

    def build_approximate(self, settings: Mapping[str, Any]) -> None:
        """Build the approximate index that settings name, in place of another. Errors: `InputError`, as of `effort`."""
        ...

    def drop_approximate(self) -> None:
        """Remove the approximate index, where there is one."""
        ...

    def optimise(self) -> None:
        """Do what keeps it fast after many writes: join small files, drop what was deleted."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
