"""Smaller vectors: fewer coordinates, and a byte or a bit for each coordinate."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.storage.folders import write_file_atomically

Vectors = npt.NDArray[np.float32]
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
BYTES = ("int8", "uint8")  # the precisions that need `Ranges`
FEW = 100  # vectors that say too little about the range of a coordinate
STEPS = 255  # between the ends of a range, 256 values


@dataclass(frozen=True)
class Ranges:
    """The range of each coordinate, from `low` (d,) to `high` (d,), which bytes divide into 255 steps.

    Take them from a sample of vectors, a few hundred at least; a value outside is clipped to the end. Queries and
    documents that are compared need the same ranges.
    """

    low: Vectors
    high: Vectors

    @classmethod
    def of(cls, vectors: npt.NDArray[Any]) -> Self:
        """Return the ranges of vectors (n, d); fewer than a hundred are warned of, as other values will be clipped.

        Errors: `InputError` for fewer than two, or another shape or type.
        """
        if vectors.ndim != 2 or len(vectors) < 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
            raise InputError(
                f"calibration: two finite float vectors (n, d) at least, better hundreds; this is {vectors.shape} "
                f"{vectors.dtype}"
            )
        ranges = cls(vectors.min(0).astype(np.float32), vectors.max(0).astype(np.float32))
        if len(vectors) < FEW:
            share = ((vectors <= ranges.low) | (vectors >= ranges.high)).mean()
            warnings.warn(
                f"calibration on {len(vectors)} vectors: {share:.0%} of their values are the lowest or highest of "
                f"their coordinate, so many of other vectors will be clipped; give {FEW} at least, better hundreds",
                stacklevel=2,
            )
        return ranges

    def save(self, path: Path) -> None:
        """Write a .npy file, (2, d): `low`, then `high`."""
        with write_file_atomically(path) as aside:
            np.save(aside, np.stack([self.low, self.high]))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Errors: `InputError` for a file that is missing or holds no ranges."""
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)  # a header may claim more than the file holds
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path}: not readable as ranges ({error}); nearfar embed writes OUT.ranges.npy"
            ) from error
        shaped = isinstance(found, np.ndarray) and found.ndim == 2 and len(found) == 2 and found.dtype.kind == "f"
        if not shaped or not (found[0] <= found[1]).all():
            raise InputError(f"{path}: no ranges: it must hold (2, d) floats, the low ends, then the high ends")
        return cls(*found.astype(np.float32))


def refuse_dim(dim: int, of: int) -> None:
    """Refuse a number of first coordinates that vectors of `of` have not. Errors: `InputError`."""
    if not 1 <= dim <= of:
        raise InputError(f"embed: dim {dim} is not of this model's vectors, which have {of}; give 1 to that")


def shorten(vectors: Vectors, dim: int, first: int = 0) -> Vectors:
    """Return the first `dim` coordinates of vectors (n, d), normalised to unit length: (n, dim).

    first: added to row numbers in errors. It suits models that were trained for it (losses.matryoshka). Errors:
    `InputError` naming a row whose first coordinates are all zero.
    """
    if dim == vectors.shape[1]:
        return vectors
    short = vectors[:, :dim]
    norms = np.linalg.norm(short, axis=1, keepdims=True)
    if not (norms > 0).all():
        row = int(np.flatnonzero(~(norms[:, 0] > 0))[0])
        raise InputError(
            f"dim={dim}: nothing is left of row {first + row + 1}, whose first coordinates are zero; take more"
        )
    unit: Vectors = short / norms
    return unit


def quantize(vectors: Vectors, precision: Precision, ranges: Ranges | None = None) -> npt.NDArray[Any]:
    """Return vectors (n, d) in fewer bits, the same numbers as sentence-transformers' `quantize_embeddings`.

    int8, uint8: (n, d), the number of whole steps of `ranges` from the low end to a value, from -128 or from 0. binary,
    ubinary: (n, ceil(d / 8)) of int8 or uint8, a bit for each coordinate, 1 above zero; the first coordinate is the
    highest bit, and zeros fill the last byte. Compare bits by Hamming distance, and bytes by inner products, which are
    rough: each coordinate has a range of its own.

    Errors: `InputError` for an unknown precision, for bytes without ranges, for ranges of another dimension.

    When not to use it: bits of few hundred dimensions lose accuracy; retrieve more documents with them than you need,
    and rank those again with the vectors themselves.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: known are {', '.join(PRECISIONS)}")
    if precision == "float32":
        return vectors.astype(np.float32, copy=False)
    if precision in BYTES:
        return _steps(vectors, precision, ranges)
    bits = np.packbits(vectors > 0, axis=-1)
    return bits if precision == "ubinary" else (bits - np.uint8(128)).view(np.int8)


def _steps(vectors: Vectors, precision: str, ranges: Ranges | None) -> npt.NDArray[Any]:
    if ranges is None:
        raise InputError(
            f"precision {precision} needs the range of each coordinate: give calibration, some hundred texts like "
            "those to come; float32 and binary need none"
        )
    if ranges.low.shape != vectors.shape[1:]:
        raise InputError(
            f"calibration: ranges of {len(ranges.low)} dimensions for vectors of {vectors.shape[1]}; calibrate with "
            "the same model and dim"
        )
    step = (ranges.high - ranges.low) / np.float32(STEPS)
    step[step == 0] = 1  # a constant coordinate
    with np.errstate(over="ignore"):  # a step of nearly zero: the quotient overflows, and is clipped
        index = np.clip(np.floor((vectors - ranges.low) / step), 0, STEPS)
    return index.astype(np.uint8) if precision == "uint8" else (index - 128).astype(np.int8)
