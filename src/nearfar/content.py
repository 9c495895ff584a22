"""The identity of one cell: a digest that is equal for equal contents, in every run and process.

Texts are compared in Unicode's normal form C: "é" is one letter, whether it is written as one code point or as two.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from unicodedata import is_normalized, normalize

import numpy as np
import numpy.typing as npt

FIX = "give text, bytes, numbers, dates, lists, dictionaries, arrays, tensors or pictures, or a column with ids()"
_FROM_U_0300 = re.compile(rb"[\xcc-\xff]")  # in UTF-8; a text without such code points is in normal form C
_PLAIN_DTYPES = "biufcSUMm"  # kinds of numpy's types whose entries are their bytes


class UnknownTypeError(TypeError):
    """A cell of a type that has no content id; the message names the type."""


def is_known(cell: Any) -> bool:
    """Return whether a cell is of a type that has an identity."""
    try:
        digest(cell)
    except UnknownTypeError:
        return False
    return True


def digest(cell: Any) -> bytes:
    """Return the digest of a cell, 8 bytes: equal for equal contents. Errors: `UnknownTypeError`."""
    if isinstance(cell, str):  # first, as there are millions
        return blake2b(cell.encode() if cell.isascii() else _utf8(cell), digest_size=8).digest()
    try:
        content = _content(cell)
    except RecursionError:
        raise UnknownTypeError(f"a {type(cell).__name__} nested too deeply, or in itself,") from None
    return blake2b(content, digest_size=8, person=b"nearfar cell").digest()  # never that of a text


def text_digest(text: bytes) -> bytes:
    """Return the digest of a text that is given in UTF-8, in normal form C."""
    return blake2b(text, digest_size=8).digest()


def in_nfc(text: bytes) -> bytes:
    """Return a text in UTF-8 in normal form C."""
    return _utf8(text.decode("utf-8", "surrogatepass")) if _FROM_U_0300.search(text) else text


def form_digest(text: str) -> bytes | None:
    """Return a digest of a text's own code points where it is not in normal form C; None where it is."""
    if text.isascii() or is_normalized("NFC", text):
        return None
    return text_digest(text.encode("utf-8", "surrogatepass"))


def canonical(text: str) -> str:
    """Return a text in Unicode's normal form C: two texts that look alike letter by letter are equal in it."""
    return text if text.isascii() else normalize("NFC", text)


def _utf8(text: str) -> bytes:
    """Return the UTF-8 of a text in normal form C."""
    return canonical(text).encode("utf-8", "surrogatepass")


def _content(cell: Any) -> bytes:
    """Return a cell as bytes, after the name of its kind and a colon: no two contents have the same."""
    if isinstance(cell, str):
        return b"text:" + _utf8(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return b"bytes:" + bytes(cell)
    if isinstance(cell, np.ndarray):
        return _array_content(cell)
    if isinstance(cell, np.generic):
        if isinstance(cell, np.longdouble | np.clongdouble):  # with bytes that mean nothing
            raise UnknownTypeError(f"a cell of type {type(cell).__name__}")
        return _array_content(np.asarray(cell)) if cell.dtype.kind in "cMmV" else _content(cell.item())
    if cell is None or isinstance(cell, bool):
        return f"{cell}:".encode()
    if isinstance(cell, int):
        return f"int:{int(cell):x}".encode()  # Python writes no decimal number of more than 4300 digits
    if isinstance(cell, float):
        return f"float:{float(cell)!r}".encode()
    if isinstance(cell, datetime | date | time):
        kind = next(kind for kind in (datetime, date, time) if isinstance(cell, kind))  # a datetime is a date, too
        return f"{kind.__name__}:{cell.isoformat()}".encode()
    if isinstance(cell, timedelta | Decimal):
        return f"{'decimal' if isinstance(cell, Decimal) else 'timedelta'}:{cell!r}".encode()
    if isinstance(cell, list | tuple):
        return b"list:" + b"".join(map(_measured, cell))
    if isinstance(cell, Mapping) and all(isinstance(key, str) for key in cell):  # a table's cell may have fields
        return b"mapping:" + b"".join(_measured(part) for key in sorted(cell) for part in (key, cell[key]))
    # Both modules are slow to import, and who has such a cell has imported them.
    torch, pictures = sys.modules.get("torch"), sys.modules.get("PIL.Image")
    if torch is not None and isinstance(cell, torch.Tensor):
        return _tensor_content(cell, torch)
    if pictures is not None and isinstance(cell, pictures.Image):
        about = [cell.mode, cell.size, cell.getpalette("RGBA"), cell.info.get("transparency")]
        return b"picture:" + _measured(about) + bytes(cell.tobytes())
    raise UnknownTypeError(f"a cell of type {type(cell).__name__}")


def _measured(cell: Any) -> bytes:
    """Return the content of a part of a cell, after its length."""
    content = _content(cell)
    return len(content).to_bytes(8, "little") + content


def _array_content(array: npt.NDArray[Any]) -> bytes:
    padded = array.dtype.char in "gG"  # long double: its bytes hold some that mean nothing
    if array.dtype.kind not in _PLAIN_DTYPES or padded or isinstance(array, np.ma.MaskedArray):
        raise UnknownTypeError(f"a {type(array).__name__} of type {array.dtype}")
    plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return f"array:{plain.dtype.str}{plain.shape}:".encode() + plain.tobytes()


def _tensor_content(tensor: Any, torch: Any) -> bytes:
    """Return the content of a tensor: that of the equal array, where numpy has the type."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        raise UnknownTypeError(f"a tensor that is sparse, nested, quantised or without memory ({tensor.layout})")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    try:
        return _array_content(plain.numpy())
    except TypeError:  # such as bfloat16
        data: bytes = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"array:{plain.dtype}{tuple(plain.shape)}:".encode() + data
