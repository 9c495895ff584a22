"""Small pictures as bytes of files, good ones and bad ones of every kind."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


def noise(seed: int = 0, height: int = 20, width: int = 30, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a picture of random blocks, smooth enough for JPEG."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (-(-height // 5), -(-width // 5), channels), np.uint8)
    return np.ascontiguousarray(small.repeat(5, 0).repeat(5, 1)[:height, :width])


def encoded(picture: Array | Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, rows: bytes | None = None) -> bytes:
    """Return a PNG whose header says what it is told; rows: its data before compression."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" * 100 if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header says another size than it has."""
    data = bytearray(encoded(noise(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def turned(orientation: int, form: str = "JPEG") -> bytes:
    """Return a picture with an EXIF orientation: its corner at the top left as stored is red."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture, form, exif=exif)
