"""Thumbnails: a small picture as the bytes of a JPEG that holds pixels and nothing else, for pages to show."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

import numpy as np

from nearfar.pictures.decode import pillow_module

SIDE = 192  # pixels of the longer side, at most
KIND = "image/jpeg"
_QUALITY = 75
_TINY, _TINY_QUALITY = 64, 92  # up to that side a page shows every pixel enlarged, and with it what JPEG leaves out


def thumbnail(cell: Any) -> bytes | None:
    """Return a picture, uint8 (h, w, 3), as a JPEG whose longer side has at most 192 pixels; none is enlarged.

    It has the pixels alone: a file's metadata (place, camera, owner, comments, colour profile) are no part of the cell.

    None for what is no such picture, and without the extra `images`: who embeds arrays need not have it.
    """
    if not isinstance(cell, np.ndarray) or cell.dtype != np.uint8 or cell.ndim != 3 or cell.shape[2] != 3:
        return None
    if not cell.size or find_spec("PIL") is None:
        return None
    from nearfar.pictures.sprite import reduced  # it imports torch

    small = np.ascontiguousarray(reduced(cell, SIDE))
    tiny = max(small.shape[:2]) <= _TINY
    how = {"quality": _TINY_QUALITY, "subsampling": 0} if tiny else {"quality": _QUALITY}
    stream = io.BytesIO()
    pillow_module().fromarray(small).save(stream, "JPEG", optimize=True, **how)
    return stream.getvalue()
