"""Pictures as the inputs of an encoder: resized to its size, uint8, and a whole column of them made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Column, Ids, content_ids, distinct_rows, kind_of, take
from nearfar.errors import InputError
from nearfar.pictures.content import trimmed
from nearfar.pictures.resize import Resample, by_shape, in_bytes, resized_bytes, resized_crops
from nearfar.storage.column_cache import cached_folder, memory_mapped

Fit = Literal["crop", "squash", "content"]
SIZES = (32, 64, 128)  # pixels of a picture's side that "auto" chooses among
SAMPLED = 256  # pictures of a column whose sizes are looked at
BLOCK = 32  # pictures that are read and resized together: photographs are large


@dataclass(frozen=True)
class PictureInputs:
    """n pictures, uint8 in parts (n_i, h, w, 3), those of one size that follow each other in one part.

    Views of several sizes (large crops, then small ones) are several parts, each of which is one forward pass.
    """

    parts: tuple[Tensor, ...]
    padded: bool = False

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> Self:
        """Return the rows of some parts in order; neighbours of one size become one part, empty parts are left out."""
        kept = [part for part in parts if len(part)] or list(parts[:1])
        alike = [list(group) for _, group in groupby(kept, key=lambda part: part.shape[1:])]
        return cls(tuple(group[0] if len(group) == 1 else torch.cat(group) for group in alike))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, rows: slice) -> PictureInputs:
        start, stop, _ = rows.indices(len(self))
        found, first = [], 0
        for part in self.parts:
            found.append(part[max(start - first, 0) : max(stop - first, 0)])
            first += len(part)
        return PictureInputs.of(found)

    def join(self, others: Sequence[PictureInputs]) -> PictureInputs:
        """Return self followed by the others."""
        return PictureInputs.of([part for inputs in (self, *others) for part in inputs.parts])

    def costs(self) -> npt.NDArray[np.int64]:
        """Return the number of pixels of each picture, (n,)."""
        return np.concatenate([np.full(len(part), part.shape[1] * part.shape[2], np.int64) for part in self.parts])

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """Return the pictures, each (h, w, 3), in order."""
        return [picture for part in self.parts for picture in part.cpu().numpy()]

    def to(self, device: Any) -> PictureInputs:
        """Return the same on another device."""
        return PictureInputs(tuple(part.to(device) for part in self.parts))


def auto_size(columns: Sequence[Column]) -> int:
    """Return the largest of 32, 64, 128 that is at most the median short side of the columns' pictures, at least 32.

    Some 256 pictures of each column are looked at, spread evenly.
    """
    sides: list[int] = []
    for column in columns:
        n = len(column)
        rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(np.int64))
        for start in range(0, len(rows), BLOCK):
            sides += [min(picture.shape[:2]) for picture in as_pictures(take(column, rows[start : start + BLOCK]))]
    middle = float(np.median(sides)) if sides else 0.0
    return max((size for size in SIZES if size <= middle), default=SIZES[0])


def as_pictures(cells: Sequence[Any]) -> list[Tensor]:
    """Return cells as pictures (h, w, 3) uint8. Errors: `InputError` naming the first cell that is none."""
    for row, cell in enumerate(cells):
        if (kind := kind_of(cell)) != "image":
            raise InputError(f"encoders.image reads pictures, uint8 (h, w, 3); cell {row + 1} is {kind}")
    return [cell if isinstance(cell, Tensor) else torch.from_numpy(_writable(cell)) for cell in cells]


def _writable(cell: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture as torch takes it: in order, and writable (it is not written to)."""
    return np.require(cell, requirements=["C", "W"])


@dataclass(frozen=True)
class ByteResize:
    """How another library resizes: in bytes, and the whole picture before the square in its middle is cut.

    short_side: pixels of the short side before that cut; at least the square's.
    """

    short_side: int
    resample: Resample


def resized(cells: Sequence[Any], size: int, fit: Fit, *, antialias: bool, exact: ByteResize | None = None) -> Tensor:
    """Return pictures of any sizes as (n, size, size, 3) uint8.

    fit: crop takes the square in the middle, squash the whole picture, content the square around what it shows
    (`pictures.content`). The values are rounded. exact: resize as another library does.
    """
    pictures = as_pictures(cells)
    if fit == "content":
        pictures = [trimmed(picture) for picture in pictures]
    found = torch.empty((len(pictures), size, size, 3), dtype=torch.uint8)
    for rows in by_shape(pictures):
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            alike = torch.stack([pictures[row] for row in block])
            found[block] = (
                _resized_alike(alike, size, fit, antialias) if exact is None else _resized_as(alike, size, fit, exact)
            )
    return found


def _resized_alike(pictures: Tensor, size: int, fit: Fit, antialias: bool) -> Tensor:
    height, width = pictures.shape[1:3]
    if (height, width) == (size, size):
        return pictures
    side = min(height, width)
    box = [(height - side) // 2, (width - side) // 2, side, side] if fit == "crop" else [0, 0, height, width]
    boxes = torch.tensor([box], device=pictures.device).expand(len(pictures), 4)
    return in_bytes(resized_crops(pictures, boxes, size, size, antialias=antialias))


def _resized_as(pictures: Tensor, size: int, fit: Fit, exact: ByteResize) -> Tensor:
    height, width = pictures.shape[1:3]
    if fit == "crop":
        short = min(height, width)
        height, width = exact.short_side * height // short, exact.short_side * width // short
    else:
        height, width = size, size
    if (height, width) != tuple(pictures.shape[1:3]):
        pictures = resized_bytes(pictures, height, width, exact.resample)
    top, left = (height - size) // 2, (width - size) // 2
    return pictures[:, top : top + size, left : left + size]


class PictureStore:
    """A whole column of pictures of one size, uint8, memory-mapped, or the column's own cells.

    Equal pictures (d of n are distinct), such as those of rows that share one, are resized and stored once.
    """

    def __init__(
        self, column: Column, size: int, fit: Fit, *, antialias: bool, exact: ByteResize | None = None
    ) -> None:
        self.column, self.size, self.fit, self.antialias, self.exact = column, size, fit, antialias, exact
        self.pixels: npt.NDArray[np.uint8] | None = None
        self._rows, self._place = distinct_rows(content_ids(column))
        other = exact is not None and fit == "crop" and exact.short_side != size
        if fit == "content" or other or any(picture.shape[:2] != (size, size) for picture in self._distinct()):
            how = (size, fit, antialias) if exact is None else (size, fit, exact.short_side, exact.resample)
            folder = cached_folder(("pictures 2", *how), column, self._write, "pictures")
            shape = (len(self._rows), size, size, 3)
            self.pixels = memory_mapped(folder / "pixels", np.uint8, int(np.prod(shape))).reshape(shape)

    def _write(self, folder: Path) -> None:
        with (folder / "pixels").open("wb") as file:
            for cells in self._blocks():
                file.write(self._resized(cells).contiguous().numpy().data)

    def _blocks(self) -> Iterator[list[Any]]:
        for start in range(0, len(self._rows), BLOCK):
            yield take(self.column, self._rows[start : start + BLOCK])

    def _distinct(self) -> Iterator[Tensor]:
        """Yield the distinct pictures; the reader stops at the first of another size."""
        for cells in self._blocks():
            yield from as_pictures(cells)

    def _resized(self, cells: Sequence[Any]) -> Tensor:
        return resized(cells, self.size, self.fit, antialias=self.antialias, exact=self.exact)

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, rows: Ids) -> PictureInputs:
        if self.pixels is None:
            return PictureInputs((self._resized(take(self.column, rows)),))
        return PictureInputs((torch.from_numpy(np.asarray(self.pixels[self._place[rows]])),))
