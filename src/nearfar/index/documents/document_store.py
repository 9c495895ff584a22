"""What a build needs of an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from nearfar.index.rows import Kinds, Row, Vectors


class DocumentStore(Protocol):
    """What a build needs of an index: `nf.Index` has it."""

    @property
    def folder(self) -> Path:
        """Where the index lies."""
        ...

    @property
    def place(self) -> Path:
        """The folder of the generation, in which the manifest lies."""
        ...

    @property
    def fields(self) -> Kinds:
        """The kinds of the fields that rows have, by name."""
        ...

    def add(self, rows: Iterable[Any], vectors: Any = None) -> int:
        """Write rows with "id", "text" and fields; one whose id is there is replaced."""
        ...

    def delete(self, ids: Sequence[str] | None = None) -> int:
        """Remove rows; ids that are not there are passed over."""
        ...

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Return rows; None for an id that is not there."""
        ...

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of rows that are there."""
        ...

    @property
    def keeps_thumbnails(self) -> bool:
        """Whether rows that are pictures get a thumbnail."""
        ...

    def with_thumbnail(self, ids: Sequence[str]) -> set[str]:
        """Return those ids whose rows have a thumbnail."""
        ...
