"""The part of `Index` that has small pictures of rows, by which a page shows what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nearfar.index.opened import Opened


class Pictured:
    """Thumbnails: JPEGs of at most 192 pixels a side, without metadata, of rows that were added as pictures."""

    _opened: Opened

    @property
    def keeps_thumbnails(self) -> bool:
        """Whether rows that are added as pictures get a thumbnail."""
        with self._opened.reading() as (generation, _):
            return generation.keeps_thumbnails

    def keep_thumbnails(self, keep: bool) -> None:
        """Say whether rows that are added as pictures get a thumbnail; where not, those that are there are removed."""
        with self._opened.writing() as (generation, store):
            if generation.keeps_thumbnails != keep:
                self._opened.update(replace(generation, keeps_thumbnails=keep))
            if not keep:
                store.thumbnails.clear()

    def thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of a row, a JPEG; None where it has none."""
        with self._opened.reading() as (_, store):
            return store.thumbnails.get(name)

    def with_thumbnail(self, ids: Sequence[str]) -> set[str]:
        """Return those ids whose rows have a thumbnail."""
        with self._opened.reading() as (_, store):
            return store.thumbnails.among(ids)
