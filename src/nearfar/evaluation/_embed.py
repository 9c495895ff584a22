"""Whole columns to vectors."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, content_ids
from nearfar.errors import InputError

Vectors = npt.NDArray[np.float32]
_SLICE = 10_000  # cells read and embedded at a time


class Embedder(Protocol):
    """What can be judged: raw cells to float32 unit vectors (n, d)."""

    def embed(self, cells: list[Any], /, role: Literal["query", "key"] | None = None) -> Vectors:
        """Return the cells' vectors in order."""
        ...


def embed_column(model: Embedder, column: Column, role: Literal["query", "key"] | None, *, empty: bool) -> Vectors:
    """Return the vectors of a column (n, d), each distinct cell embedded once.

    Errors: `InputError`: a cell that is empty, by row, unless `empty` allows it (its vector is zero, it is never
    embedded); nothing but empty cells; vectors of another shape than asked for.
    """
    _, first, place = np.unique(content_ids(column), return_index=True, return_inverse=True)
    new = np.zeros(len(column), bool)
    new[first] = True
    vectors: Vectors | None = None
    for start in range(0, len(column), _SLICE):
        cells = column.read(start, min(start + _SLICE, len(column)))
        full = [i for i, cell in enumerate(cells) if not is_empty(cell)]
        if not empty and len(full) < len(cells):
            row = start + min(set(range(len(cells))) - set(full))
            raise InputError(f"column {column.name!r}, row {row + 1}: is empty, so nothing can be asked with it")
        wanted = [i for i in full if new[start + i]]
        if not wanted:
            continue
        found = np.asarray(model.embed([cells[i] for i in wanted], role=role), np.float32)  # (b, d)
        if found.ndim != 2 or len(found) != len(wanted):
            raise InputError(
                f"the model's embed returned {found.shape} for {len(wanted)} cells; ({len(wanted)}, d) is due"
            )
        if vectors is None:
            vectors = np.zeros((len(column), found.shape[1]), np.float32)
        vectors[start + np.array(wanted)] = found
    if vectors is None:
        raise InputError(f"column {column.name!r}: all {len(column)} rows are empty; there is nothing to embed")
    copies = np.flatnonzero(~new)
    vectors[copies] = vectors[first[place[copies]]]
    return vectors


def is_empty(cell: Any) -> bool:
    """Whether a cell is a text without anything in it."""
    return isinstance(cell, str) and not cell.strip()
