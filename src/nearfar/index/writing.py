"""Rows are added to an index that is open, or removed from it: checked and embedded before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nearfar.errors import InputError
from nearfar.index.embedding import Embedding
from nearfar.index.filters import Filter
from nearfar.index.incoming import Incoming, checked_id, checked_rows, checked_vectors
from nearfar.index.opened import Opened


def add(opened: Opened, embedding: Embedding, rows: Iterable[Any], vectors: Any) -> int:
    """Add rows, or replace those of their ids; return how many. Arguments and errors: as of `Index.add`."""
    given, embedded = list(rows) if not isinstance(rows, Mapping | str) else rows, vectors is not None
    with opened.reading() as (generation, store):
        opened.refuse_another(generation)
        known = dict(store.fields)
    incoming = checked_rows(given, known, embedded=embedded)
    if not embedded:
        vectors = embedding.embed(incoming.cells, "key", generation)  # without holding up other writers
    unit = checked_vectors(vectors, len(incoming), generation.dim, incoming.ids, "add")
    if generation.backend.get("precision") == "float16":  # as it is kept, so that hashes agree
        unit = unit.astype(np.float16).astype(np.float32)
    small = thumbnails_of(incoming) if generation.keeps_thumbnails else {}
    with opened.writing() as (now, store):
        opened.refuse_another(now)
        if store.fields != known:  # another process added some meanwhile
            incoming = checked_rows(given, store.fields, embedded=embedded)
        opened.add_fields({name: kind for name, kind in incoming.kinds.items() if name not in store.fields})
        if len(incoming):
            store.upsert(incoming.rows(unit), small if now.keeps_thumbnails else {})
            store.settle_language()
    return len(incoming)


def delete(opened: Opened, ids: Sequence[str] | None, where: str | Filter | None) -> int:
    """Remove the rows of ids, or those that match a filter; return how many there were. Errors: of `Index.delete`."""
    if (ids is None) == (where is None):
        raise InputError("delete: give ids or a filter (where=), one of the two")
    with opened.writing() as (_, store):
        if ids is None:
            ids = store.backend.ids(opened.filter(where))
        given = [ids] if isinstance(ids, str | int) else ids
        names = list(dict.fromkeys(checked_id(name, f"delete: id {i + 1}") for i, name in enumerate(given)))
        return store.delete(names) if names else 0


def thumbnails_of(incoming: Incoming) -> dict[str, bytes]:
    """Return thumbnails of the rows that are pictures, by id."""
    if all(cell is None or isinstance(cell, str) for cell in incoming.cells):
        return {}
    from nearfar.pictures.thumbnail import thumbnail  # it needs numpy alone, and what it then imports torch

    made = ((name, thumbnail(cell)) for name, cell in zip(incoming.ids, incoming.cells))
    return {name: picture for name, picture in made if picture is not None}
