"""Pictures that were decoded once: their pixels in one memory-mapped file, and what was found of them on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.storage.folders import write_text

PIXELS, INDEX, NAMES = "pixels.bin", "index.npy", "names.json"


class Pictures(Protocol):
    """Pictures (n,) that are read by row."""

    names: list[str]  # (n,) as their archive has them
    ids: Ids  # (n,) of their contents
    broken: list[tuple[str, str]]  # the name and the fault of each that is left out

    def read_rows(self, rows: Ids) -> list[npt.NDArray[np.uint8]]:
        """Return some pictures, each (h, w, 3), in the order of the rows."""
        ...


@dataclass
class Found:
    """What a pass over an archive has found so far: a row for each picture, in order.

    names, ids: of the pictures. shapes: height and width of each as stored. broken: name and fault of those left out.
    """

    names: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    pixels: int = 0  # bytes that are written
    written: set[int] = field(default_factory=set)  # content ids

    def add(self, name: str, content: int, picture: npt.NDArray[np.uint8] | None, file: BinaryIO | None) -> None:
        """Add a picture, and write its pixels into a file, if there is one, and they are not in it."""
        self.names.append(name)
        self.ids.append(content)
        if picture is not None and file is not None:
            self.shapes.append((picture.shape[0], picture.shape[1]))
            if content not in self.written:
                self.written.add(content)
                self.pixels += picture.nbytes
                file.write(picture.data)

    def write(self, folder: Path) -> None:
        """Write the index (n, 3), content id, height and width, and the names into a folder."""
        index = np.zeros((len(self.ids), 3), np.int64)
        index[:, 0] = self.ids
        if self.shapes:
            index[:, 1:] = self.shapes
        np.save(folder / INDEX, index, allow_pickle=False)
        write_text(folder / NAMES, json.dumps({"names": self.names, "broken": self.broken}))


class StoredPictures:
    """Pictures of a folder of the cache, decoded, a memory map of uint8, in which equal pictures lie once.

    Errors: `ValueError`, `OSError` or `KeyError` for a folder that is not whole.
    """

    def __init__(self, folder: Path) -> None:
        index, self.names, self.broken = read_index(folder)
        self.ids = index[:, 0].copy()
        self._shapes = index[:, 1:]  # (n, 2)
        _, first, place = np.unique(self.ids, return_index=True, return_inverse=True)
        sizes, written = 3 * self._shapes.prod(1), np.zeros(len(self.ids), np.int64)
        written[first] = sizes[first]
        ends = np.cumsum(written)
        self._starts = (ends - written)[first][place.reshape(-1)]  # (n,) of the first of those that are equal
        self._ends, self.nbytes = self._starts + sizes, int(written.sum())  # (n,); bytes of all that is written
        self._pixels = np.zeros(0, np.uint8)
        if len(ends):
            self._pixels = np.asarray(np.memmap(folder / PIXELS, np.uint8, "r", shape=(self.nbytes,)))

    def read_rows(self, rows: Ids) -> list[npt.NDArray[np.uint8]]:
        """Return some pictures, each (h, w, 3), copied: whoever takes them may write into them."""
        shapes, starts, ends = self._shapes[rows].tolist(), self._starts[rows].tolist(), self._ends[rows].tolist()
        return [
            np.array(self._pixels[start:end]).reshape(height, width, 3)
            for (height, width), start, end in zip(shapes, starts, ends)
        ]


def read_index(folder: Path) -> tuple[npt.NDArray[np.int64], list[str], list[tuple[str, str]]]:
    """Return the index (n, 3), the names and the broken ones of a folder of the cache."""
    index: npt.NDArray[np.int64] = np.load(folder / INDEX, allow_pickle=False)
    found: dict[str, Sequence[Any]] = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    if index.shape != (len(found["names"]), 3):
        raise ValueError(f"{folder}: an index of {index.shape} for {len(found['names'])} pictures")
    return index, list(found["names"]), [(name, fault) for name, fault in found["broken"]]


@dataclass(frozen=True, eq=False)
class PictureColumn:
    """A column of pictures whose content ids are known: some rows (n,) of all, each as often as it is named."""

    name: str
    pictures: Pictures
    rows: Ids
    kind: str = "image"

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> list[npt.NDArray[np.uint8]]:
        """Return pictures `start` to `stop`, each (h, w, 3)."""
        return self.pictures.read_rows(self.rows[start:stop])

    def read_rows(self, rows: Ids) -> list[npt.NDArray[np.uint8]]:
        """Return some pictures, each (h, w, 3), in the order of the rows."""
        return self.pictures.read_rows(self.rows[rows])

    def ids(self) -> Ids:
        """Return the content ids of the pictures."""
        return self.pictures.ids[self.rows]
