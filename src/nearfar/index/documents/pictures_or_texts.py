"""Whether pictures or texts become rows, where a model has a side for each: in one index texts would hide the pictures.

Two texts lie nearer to each other than a text and a picture do (the modality gap, Liang et al. 2022,
arXiv:2203.02053), so that a search by words would find every text first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from nearfar.abilities import picture_size, reads, side
from nearfar.contracts import Encoder
from nearfar.data.archives.open_archive import is_archive_name
from nearfar.errors import InputError
from nearfar.index.documents.find_files import FoundFiles
from nearfar.index.documents.read_file import ReadingSettings
from nearfar.index.rows import Kinds
from nearfar.pictures.decode import is_picture_name
from nearfar.sides import ROLES, role_reading

Only = Literal["pictures", "texts"]
_LEAST_SIDE = 256  # pixels of a picture's shorter side, at most, where the model reads smaller ones
_CELLS = {"pictures": ("image",), "texts": ("text",)}


def is_of_both(encoder: Encoder) -> bool:
    """Return whether an encoder reads pictures with one side and texts with the other alone."""
    first, second = (set(reads(side(encoder, role))) & {"image", "text"} for role in ROLES)
    return {frozenset(first), frozenset(second)} == {frozenset({"image"}), frozenset({"text"})}


def refuse_only(encoder: Encoder, only: Any) -> None:
    """Refuse a choice that does not exist, or that a model does not have. Errors: `InputError`."""
    if only is not None and only not in _CELLS:
        raise InputError(f"only {only!r:.40}: no such kind of rows; known: {', '.join(_CELLS)}")
    if only is not None and not is_of_both(encoder):
        raise InputError(f"only {only}: is for a model with a side for pictures and one for texts; leave it out")


def cells_of_rows(
    encoder: Encoder, only: Only | None, found: FoundFiles, before: Sequence[str] | None
) -> Sequence[str]:
    """Return the kinds of cells that become rows: all that the keys' side reads, of a model of both one kind.

    only: the one that is asked for. before: the one of the rows that are there. Otherwise it is pictures, where there
    are any.
    """
    if not is_of_both(encoder):
        return reads(side(encoder, "key"))
    if only is not None:
        return _CELLS[only]
    if before is not None:
        return tuple(before)
    names = [file.name for file in found.files]
    pictured = any(map(is_picture_name, names)) or all(is_archive_name(Path(name)) for name in names)
    return _CELLS["pictures" if pictured else "texts"]


def reading_settings(encoder: Encoder, column: str | None, kinds: Kinds, cells: Sequence[str]) -> ReadingSettings:
    """Return how files are read. column: of tables, their texts. kinds: of fields, by name. cells: `cells_of_rows`."""
    pixels = max(picture_size(side(encoder, role_reading(encoder, "image", "key"))) or 0, _LEAST_SIDE)
    return ReadingSettings(column, kinds, tuple(cells), pixels, beside=is_of_both(encoder))
