"""Sprites: many small pictures in one file, tile beside tile, for pages that load nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from nearfar.pictures.decode import Picture, pillow_module
from nearfar.pictures.resize import in_bytes, resized

MOST_BYTES = 2 << 20  # of a sprite, which a page takes in whole
MOST_TILES = 4_096  # of a sprite
QUALITY = 88  # of WebP: at 32 pixels no difference to be seen at two to three times the size
KINDS = {"webp": b"RIFF", "png": b"\x89PNG"}  # how the files of each form begin
_FILE = re.compile(r"[a-z]{1,20}-[0-9a-f]{16}\.(webp|png)")


@dataclass(frozen=True)
class Sprite:
    """Tiles of `tile` pixels a side, in `columns` and `rows`, row after row: the bytes of one picture file.

    form: "webp", or "png" where Pillow was built without.
    """

    data: bytes
    form: str
    tile: int
    columns: int
    rows: int

    def file(self, what: str) -> str:
        """Return the file's name: what it shows, and a hash of its bytes."""
        return f"{what}-{hashlib.sha256(self.data).hexdigest()[:16]}.{self.form}"

    def layout(self, what: str) -> dict[str, int | str]:
        """Return what a page must know of the sprite: its file's name, tile, columns and rows."""
        return {"file": self.file(what), "tile": self.tile, "columns": self.columns, "rows": self.rows}


def sprite(pictures: Sequence[Picture], most: int = 64) -> Sprite | None:
    """Return pictures (h, w, 3) as the tiles of a sprite, in order; what of a tile is not the picture is transparent.

    None without a picture, and without the extra `images`: who embeds arrays need not have it.

    most: pixels of a tile's side, and fewer where the file would have more than `MOST_BYTES`. A larger picture is
    reduced, antialiased; none is cut, and none is enlarged.
    """
    if not pictures or find_spec("PIL") is None:
        return None
    while len((made := _tiled(pictures, most)).data) > MOST_BYTES:
        most = made.tile * 3 // 4
    return made


def _tiled(pictures: Sequence[Picture], most: int) -> Sprite:
    small = [reduced(picture, most) for picture in pictures]
    tile = max(max(picture.shape[:2]) for picture in small)
    columns = math.ceil(math.sqrt(len(small)))
    rows = math.ceil(len(small) / columns)
    canvas = np.zeros((rows * tile, columns * tile, 4), np.uint8)
    for i, picture in enumerate(small):
        height, width = picture.shape[:2]
        top, left = i // columns * tile + (tile - height) // 2, i % columns * tile + (tile - width) // 2
        canvas[top : top + height, left : left + width, :3] = picture
        canvas[top : top + height, left : left + width, 3] = 255
    data, form = _encoded(canvas if (canvas[..., 3] == 0).any() else canvas[..., :3])
    return Sprite(data, form, tile, columns, rows)


def reduced(picture: Picture, most: int) -> Picture:
    """Return a picture whose longer side has at most so many pixels, antialiased."""
    height, width = picture.shape[:2]
    if max(height, width) <= most:
        return picture
    scale = most / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    whole = torch.from_numpy(np.require(picture, requirements=["C", "W"]))[None]  # (1, h, w, 3)
    small: Picture = in_bytes(resized(whole, *size))[0].numpy()
    return small


def png(picture: Picture) -> bytes:
    """Return a picture (h, w, 3) or (h, w, 4) as the bytes of a PNG."""
    stream = io.BytesIO()
    pillow_module().fromarray(picture).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def is_sprite_file(name: object) -> bool:
    """Return whether a name is that of a sprite's file, which leads nowhere else."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def data_uri(name: str, data: bytes) -> str | None:
    """Return a sprite's file as a data URI; None for bytes that are too many, or of another form than the name says."""
    form = name.rpartition(".")[2]
    if len(data) > MOST_BYTES or form not in KINDS or not data.startswith(KINDS[form]):
        return None
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"


def _encoded(canvas: Picture) -> tuple[bytes, str]:
    """Return a canvas as WebP, else as PNG, and the form."""
    from PIL import features

    if not features.check("webp"):
        return png(canvas), "png"
    stream = io.BytesIO()
    pillow_module().fromarray(canvas).save(stream, "WEBP", quality=QUALITY, method=4)
    return stream.getvalue(), "webp"
