"""What the rows of an index amount to: a hash of each, and their sum, which no order of writes changes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from nearfar.index.rows import Value, Vectors

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)


def row_hash(name: str, text: str | None, fields: Mapping[str, Value], vector: Vectors) -> bytes:
    """Return the hash (16 bytes) of a row: its id, text, fields that have a value, and float32 vector (d,)."""
    known = blake2b(digest_size=_BYTES)
    for part in (name, "" if text is None else f"={text}"):
        _add(known, part.encode())
    for field in sorted(fields):
        value = fields[field]
        if value is not None:
            written = struct.pack("<d", value) if isinstance(value, float) else str(value).encode()
            _add(known, field.encode())
            _add(known, type(value).__name__.encode() + written)
    _add(known, np.ascontiguousarray(vector, "<f4").tobytes())
    return known.digest()


def total(before: str, added: list[bytes], removed: list[bytes]) -> str:
    """Return the digest of rows, 32 hexadecimal digits, after some were added and some removed; "0" is that of none."""
    change = sum(map(_number, added)) - sum(map(_number, removed))
    return f"{(int(before, 16) + change) % _MODULUS:032x}"


def _add(known: blake2b, part: bytes) -> None:
    known.update(struct.pack("<q", len(part)))
    known.update(part)


def _number(part: bytes) -> int:
    return int.from_bytes(part, "little")
