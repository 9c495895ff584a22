"""Whole columns to vectors, a slice of cells at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, content_ids
from nearfar.errors import InputError

SLICE = 10_000  # cells read and embedded at a time
Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Embedder(Protocol):
    """What can be judged and searched with: raw cells to float32 unit vectors (n, d)."""

    def embed(self, cells: list[Any], /, role: Literal["query", "key"] | None = None) -> Vectors:
        """Return the cells' vectors in order."""
        ...


def embed_slices(
    embed: Callable[[list[Any]], npt.NDArray[Any]], column: Column, rows: Mask | None = None
) -> Iterator[tuple[slice, Mask, npt.NDArray[Any]]]:
    """Yield for each slice of a column: its rows, which of them (b,) were embedded, and the vectors (e, d) of those.

    Empty cells are never embedded. rows: (n,) the rows that are asked for, all without it. Without a single cell to
    embed in a slice, its vectors are (0, 0).

    Errors: `InputError` where `embed` returns another shape than one vector a cell.
    """
    for start in range(0, len(column), SLICE):
        here = slice(start, min(start + SLICE, len(column)))
        cells = column.read(here.start, here.stop)
        full = np.array([not is_empty(cell) for cell in cells], bool)
        if rows is not None:
            full &= rows[here]
        wanted = [cell for cell, embedded in zip(cells, full) if embedded]
        vectors = np.asarray(embed(wanted)) if wanted else np.empty((0, 0), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(wanted):
            raise InputError(
                f"the model's embed returned {vectors.shape} for {len(wanted)} cells; ({len(wanted)}, d) is due"
            )
        yield here, full, vectors


def embed_column(model: Embedder, column: Column, role: Literal["query", "key"] | None, *, empty: bool) -> Vectors:
    """Return the vectors of a column (n, d), each distinct cell embedded once.

    Errors: `InputError`: a cell that is empty, by row, unless `empty` allows it (its vector is zero, it is never
    embedded); nothing but empty cells; vectors of another shape than asked for.
    """
    _, first, place = np.unique(content_ids(column), return_index=True, return_inverse=True)
    new = np.zeros(len(column), bool)
    new[first] = True
    vectors: Vectors | None = None
    for here, full, found in embed_slices(partial(model.embed, role=role), column, new):
        missing = np.flatnonzero(new[here] & ~full)
        if not empty and len(missing):
            row = here.start + missing[0] + 1
            raise InputError(f"column {column.name!r}, row {row}: is empty, so nothing can be asked with it")
        if full.any():
            if vectors is None:
                vectors = np.zeros((len(column), found.shape[1]), np.float32)
            vectors[here][full] = found
    if vectors is None:
        raise InputError(f"column {column.name!r}: all {len(column)} rows are empty; there is nothing to embed")
    copies = np.flatnonzero(~new)
    vectors[copies] = vectors[first[place[copies]]]
    return vectors


def is_empty(cell: Any) -> bool:
    """Whether a cell is a text without anything in it."""
    return isinstance(cell, str) and not cell.strip()
