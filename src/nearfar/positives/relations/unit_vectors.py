"""Unit vectors of a column's cells, computed once and kept in the cache, and cosines that are exact in any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nearfar.column import Column, Ids, distinct_rows, exact_ids
from nearfar.compute.evaluating import evaluating
from nearfar.errors import NoVectorError
from nearfar.storage.column_cache import cached_folder, memory_mapped

BLOCK = 256  # cells of one call
ONE = 2.0**24  # what a coordinate of 1 is as a whole number, which float32 still holds
Floats = npt.NDArray[np.float32]
Embed = Callable[[Ids], Floats]  # rows (r,) of a column to the unit vectors (r, d) of their cells


@dataclass(frozen=True)
class UnitVectors:
    """The unit vectors of a column of n cells: those of u contents (u, d), and the place (n,) of each row's in them."""

    vectors: Floats
    place: Ids

    @classmethod
    def cached(cls, column: Column, dim: int, embed: Embed, *identity: Any) -> UnitVectors:
        """Return the vectors of a column, each content embedded once, from the cache on disk where they are there.

        identity: all that they depend on beside the column's content.
        """
        rows, place = distinct_rows(exact_ids(column))

        def write(new: Path) -> None:
            with (new / "vectors").open("wb") as file:
                for part in _blocks(column, rows, embed):
                    file.write(np.ascontiguousarray(part, "<f4").data)

        path = cached_folder(("unit vectors 2", dim, *identity), column, write, "vectors") / "vectors"
        vectors = memory_mapped(path, np.float32, len(rows) * dim).reshape(len(rows), dim)
        return cls(vectors, place)

    @classmethod
    def of_rows(cls, column: Column, rows: Ids, embed: Embed) -> UnitVectors:
        """Return the vectors of some rows of a column, without the cache; the other rows have none."""
        rows, place = np.unique(rows), np.full(len(column), -1, np.int64)
        place[rows] = np.arange(len(rows))
        return cls(np.concatenate(list(_blocks(column, rows, embed))), place)

    def __getitem__(self, rows: Ids) -> Floats:
        found: Floats = self.vectors[self.place[rows]]
        return found


def _blocks(column: Column, rows: Ids, embed: Embed) -> Iterator[Floats]:
    """Yield the vectors of some rows. Errors: `NoVectorError` that names the row of the column."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        try:
            yield embed(block)
        except NoVectorError as error:  # which counts the cells that were given
            raise NoVectorError(int(block[error.row]), error.why, f"column {column.name!r}") from error


def cosines(left: Floats, right: Floats) -> npt.NDArray[np.float64]:
    """Return the cosines (n, m) of unit vectors (n, d) and (m, d), to about 1e-7, the same of a pair in every batch.

    Coordinates are rounded to multiples of 2^-24, and their products added as whole numbers below 2^53, which float64
    holds exactly. So no order of the sums, and no other row, changes a digit, on any machine.
    """
    product: npt.NDArray[np.float64] = _whole(left) @ _whole(right).T
    product /= ONE * ONE
    return product


def _whole(vectors: Floats) -> npt.NDArray[np.float64]:
    return np.rint(vectors.astype(np.float64) * ONE)


@contextmanager
def embedding(encoder: Any) -> Iterator[torch.device]:
    """Put an encoder in evaluation mode, and on a GPU if there is one, and both back afterwards; give the device."""
    module = cast("nn.Module", encoder)
    before = next((p.device for p in module.parameters()), torch.device("cpu"))
    device = torch.device("cuda") if torch.cuda.is_available() else before
    try:
        with torch.no_grad(), evaluating(module):
            module.to(device)
            yield device
    finally:
        module.to(before)
