"""Vectors in fewer bytes, to be compared first: of each coordinate a byte or a bit, or the first coordinates alone."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nearfar.index.rows import Vectors
from nearfar.vectors.quantize import quantize

Codes = npt.NDArray[np.uint8]
Coding = Literal["float32", "float16", "int8", "bits"]
CODINGS: tuple[str, ...] = get_args(Coding)
_STEPS = 127  # of int8 on each side of zero
_TINY = np.float32(1e-30)
_OF_HALF = np.array([0x8FFFE000], np.uint32).view(np.int32)[0]  # sign, exponent and mantissa of a half in a float
_SCALE = 4  # bytes of a row's scale, which follow those of its coordinates


def width(coding: Coding, dim: int) -> int:
    """Return the bytes of a row."""
    return {"float32": 4 * dim, "float16": 2 * dim, "int8": dim + _SCALE, "bits": -(-dim // 8)}[coding]


def encoded(vectors: Vectors, coding: Coding) -> Codes:
    """Return unit vectors (n, d) as rows of bytes (n, width), in the order of bytes of x86 and ARM.

    int8: each row in steps of its largest coordinate / 127, and that step in float32. bits: 1 above zero.
    """
    if coding == "bits":
        return quantize(vectors, "ubinary")
    if coding != "int8":
        return np.ascontiguousarray(vectors, "<f4" if coding == "float32" else "<f2").view(np.uint8)
    largest = np.maximum(np.abs(vectors).max(1, keepdims=True), _TINY)  # of vectors whose first coordinates are zero
    scale = largest / np.float32(_STEPS)
    steps = np.rint(vectors / scale).astype(np.int8)
    return np.hstack([steps.view(np.uint8), scale.astype("<f4").view(np.uint8)])


def decoded(codes: Codes, coding: Coding, dim: int) -> Vectors:
    """Return what codes (n, width) stand for, (n, d) float32; of bits -1 and 1, divided by the root of d."""
    if coding == "float32":
        return codes.view("<f4")
    if coding == "float16":
        bits = codes.view("<i2").astype(np.int32)  # numpy's own conversion takes four times as long
        bits <<= 13  # the mantissa to its place, the exponent too, which is 112 too low
        bits &= _OF_HALF  # copies of the sign
        halves: Vectors = bits.view(np.float32)
        halves *= np.float32(2.0**112)
        return halves
    if coding == "int8":
        steps, scales = unscaled(codes, dim)
        steps *= scales[:, None]
        return steps
    signs = np.unpackbits(codes, axis=1, count=dim).astype(np.float32)
    one = np.float32(1 / np.sqrt(dim))
    signs *= 2 * one
    signs -= one
    return signs


def unscaled(codes: Codes, dim: int) -> tuple[Vectors, Vectors]:
    """Return int8 codes as steps (n, d) float32, and what a step of each row is (n,): scores may be scaled for rows."""
    scales: Vectors = np.ascontiguousarray(codes[:, dim:]).view("<f4")[:, 0]
    return codes[:, :dim].view(np.int8).astype(np.float32), scales


def first_coordinates(vectors: Vectors, dim: int) -> Vectors:
    """Return the first coordinates of vectors (n, d), of unit length: (n, dim). Those that are all zero stay zero."""
    if dim == vectors.shape[1]:
        return vectors
    short = vectors[:, :dim]
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    return (short / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def code_error(vectors: Vectors, coding: Coding) -> float:
    """Return the largest distance of vectors (n, d) from what their codes stand for; no score errs by more."""
    if not len(vectors):
        return 0.0
    distance = np.linalg.norm(
        vectors.astype(np.float64) - decoded(encoded(vectors, coding), coding, vectors.shape[1]), axis=1
    )
    return float(distance.max())
