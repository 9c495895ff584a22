"""Embedding a whole column, a slice of cells at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from nearfar.abilities import HasEncoder, TwoSided
from nearfar.column import Column, exact_ids, is_empty, kind_of
from nearfar.contracts import Role
from nearfar.errors import InputError, NoVectorError
from nearfar.sides import kinds_of_sides, role_reading

SLICE = 10_000  # cells read and embedded at a time
Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@runtime_checkable
class Embedder(Protocol):
    """A model for evaluation and search: raw cells to float32 unit vectors (n, d)."""

    def embed(self, cells: list[Any], /, role: Role | None = None) -> Vectors:
        """Return the vectors of the cells, in order."""
        ...


def embed_by_kind(model: Any, cells: Sequence[Any], role: Role) -> Vectors:
    """Return the unit vectors (n, d) of cells, each by the side of the model that reads its kind.

    role: whose side and prompt are taken, unless the other side alone reads a cell: in a model of pictures that look
    for texts, words that look for pictures go to the keys' side (`sides.role_reading`).

    Errors: `InputError` for a cell that neither side reads; those of the model, by row.
    """
    embed: Callable[..., Vectors] = model.embed
    if not isinstance(model, HasEncoder) or not isinstance(model.encoder, TwoSided):
        return embed(list(cells), role=role)
    encoder: Any = model.encoder
    known = kinds_of_sides(encoder)
    rows: dict[Any, list[int]] = {}  # by role
    for row, cell in enumerate(cells):
        if known and (kind := kind_of(cell)) not in known:
            raise InputError(
                f"embed: row {row + 1} is {kind} ({str(cell)[:40]!r}), this model reads {' and '.join(known)}; give it "
                "that, or take another model"
            )
        rows.setdefault(role_reading(encoder, kind_of(cell), role), []).append(row)
    vectors = np.empty((len(cells), encoder.dim), np.float32)
    for reading, own in rows.items():
        try:
            vectors[own] = embed([cells[row] for row in own], role=reading)
        except NoVectorError as error:  # which counts the rows that were given
            raise NoVectorError(own[error.row], error.why) from error
    return vectors


def embed_slices(
    embed: Callable[[list[Any]], npt.NDArray[Any]], column: Column, rows: Mask | None = None
) -> Iterator[tuple[slice, Mask, npt.NDArray[Any]]]:
    """Yield for each slice of a column: its rows, which of them (b,) were embedded, and their vectors (e, d).

    Empty cells are never embedded. rows: (n,) which rows to embed; None is all. In a slice without a cell to embed, the
    vectors are (0, 0).

    Errors: `InputError` where `embed` does not return one vector for each cell; those of `embed`, which name the row of
    the column where a cell has no vector.
    """
    for start in range(0, len(column), SLICE):
        part = slice(start, min(start + SLICE, len(column)))
        cells = column.read(part.start, part.stop)
        embedded = np.array([not is_empty(cell) for cell in cells], bool)
        if rows is not None:
            embedded &= rows[part]
        chosen = [cell for cell, flag in zip(cells, embedded) if flag]
        try:
            vectors = np.asarray(embed(chosen)) if chosen else np.empty((0, 0), np.float32)
        except NoVectorError as error:  # which counts the rows that were given
            row = part.start + int(np.flatnonzero(embedded)[error.row])
            raise NoVectorError(row, error.why, f"column {column.name!r}") from error
        if vectors.ndim != 2 or len(vectors) != len(chosen):
            raise InputError(
                f"the model's embed returned {vectors.shape} for {len(chosen)} cells; it must return ({len(chosen)}, d)"
            )
        yield part, embedded, vectors


def embed_column(model: Embedder, column: Column, role: Role | None, *, empty: bool) -> Vectors:
    """Return the vectors of a column (n, d), each distinct cell embedded once.

    empty: whether empty cells are allowed; they are not embedded, their vectors are zero.

    Errors: `InputError`: an empty cell, by row, where none is allowed; a column of empty cells only; vectors of a wrong
    shape.
    """
    _, first, inverse = np.unique(exact_ids(column), return_index=True, return_inverse=True)
    is_first = np.zeros(len(column), bool)
    is_first[first] = True
    vectors: Vectors | None = None
    for part, embedded, found in embed_slices(partial(model.embed, role=role), column, is_first):
        missing = np.flatnonzero(is_first[part] & ~embedded)
        if not empty and len(missing):
            row = part.start + missing[0] + 1
            raise InputError(f"column {column.name!r}, row {row}: is empty, so it has no vector")
        if embedded.any():
            if vectors is None:
                vectors = np.zeros((len(column), found.shape[1]), np.float32)
            vectors[part][embedded] = found
    if vectors is None:
        raise InputError(f"column {column.name!r}: all {len(column)} rows are empty; there is nothing to embed")
    copies = np.flatnonzero(~is_first)
    vectors[copies] = vectors[first[inverse[copies]]]
    return vectors
