"""Flickr8k, from the folder of the data sets: pictures of 112 pixels with five captions each, in three splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearfar.data.image_text import ImageText


def places(data: Path) -> dict[str, Path]:
    """Return its files, by the settings of `image_text` that name them."""
    folder = data / "E-flickr8k"
    return {"path": folder / "captions.tsv.gz", "pictures": folder / "images-112px.zip"}


def captions(data: Path, **settings: Any) -> ImageText:
    """Return its training rows, a row for each caption, with the splits validation and test."""
    files = places(data)
    return ImageText(files["path"], pictures=files["pictures"], progress=False, **settings)
