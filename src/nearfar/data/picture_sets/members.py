"""The pictures that a path names, with their splits and classes; what is broken is counted, told, and left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.data.archives.members import Archive, Wanted
from nearfar.data.archives.open_archive import is_archive_name, open_archive
from nearfar.data.beir import is_beir
from nearfar.data.picture_sets.layout import Place, layout
from nearfar.data.picture_sets.reading import ReadSettings, read_pictures
from nearfar.data.picture_sets.saved import SavedSet, holds_pictures, is_saved
from nearfar.data.picture_sets.store import Pictures, StoredPictures
from nearfar.data.tables.files import DOCUMENTS, FORMATS, format_suffix
from nearfar.errors import InputError
from nearfar.pictures.decode import MOST_BYTES, is_picture_name, too_many_bytes
from nearfar.storage.places import expanded

FEW = 5  # pictures that may be broken whatever the share, unless that is 0
SHOWN = 5  # broken pictures that are named
LOOKED_AT = 20_000  # names of a folder by which it is told whether it holds pictures or texts
WANTED = Wanted(is_picture_name, MOST_BYTES, too_many_bytes)


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures (n,) in the order of their paths: `rows` (n,) of `pictures`, and the split, class and path of each.

    ids (n,): of their contents. warning: what is broken, or nothing.
    """

    where: str
    pictures: Pictures
    rows: Ids
    splits: list[str]
    labels: list[str | None]
    paths: list[str]
    notes: dict[str, Any]
    warning: str

    @property
    def ids(self) -> Ids:
        """The content ids (n,)."""
        ids: Ids = self.pictures.ids[self.rows]
        return ids

    @property
    def has_classes(self) -> bool:
        """Whether any picture has a class."""
        return any(label is not None for label in self.labels)


def is_picture_set(path: str | Path) -> bool:
    """Return whether a path is a set of pictures: an archive, a folder of more pictures than texts, a saved data set.

    A folder with a table at its top is one of tables.
    """
    place = expanded(path)
    if not str(path) or not place.is_dir():
        return bool(str(path)) and is_archive_name(place)
    if is_saved(place):
        return holds_pictures(place)
    if is_beir(place) or any(format_suffix(file) in FORMATS for file in place.iterdir() if file.is_file()):
        return False
    pictures = texts = 0
    for _, (folder, name) in zip(range(LOOKED_AT), _files(place)):
        if WANTED(f"{folder}/{name}"):
            pictures += 1
        elif Path(name).suffix.lower() in DOCUMENTS:
            texts += 1
    return pictures > texts


def labelled_pictures(path: Path, settings: ReadSettings, label: str | None, broken: float) -> LabelledPictures:
    """Return the pictures of a path. label, broken: see `data.Images`.

    Errors: `InputError` for a path without pictures, and where more are broken than may be.
    """
    saved = SavedSet(path, WANTED) if is_saved(path) else None
    if saved is None and is_picture_name(path.name) and path.is_file():
        raise InputError(f"{path}: is one picture; give the folder that it lies in, or an archive of pictures")
    archive: Archive = saved or open_archive(path, WANTED)
    pictures = read_pictures(archive, settings)
    faults = list(pictures.broken)
    if saved is not None:
        by_name = saved.places(label)
        places: list[Place | None] = [by_name[name] for name in pictures.names]
    else:
        if label not in (None, "auto"):
            raise InputError(f"{path}: has no column {label!r}; classes are folders: label=auto, or null for none")
        shown = [readable(name) for name in pictures.names]
        places = layout(shown)
        faults += [(name, "lies beside the folders of splits") for name, place in zip(shown, places) if place is None]
    said = checked_faults(path, faults, len(pictures.names) - places.count(None), broken)
    kept = [(place, row) for row, place in enumerate(places) if place is not None]
    if saved is None:
        kept.sort(key=lambda found: found[0].path)
    labels = [None if label is None else place.label for place, _ in kept]
    return LabelledPictures(
        str(path),
        pictures,
        np.array([row for _, row in kept], np.int64),
        [place.split for place, _ in kept],
        labels,
        [place.path for place, _ in kept],
        picture_notes(pictures, len(faults), said),
        f"{path}: {said}" if said else "",
    )


def readable(name: str) -> str:
    """Return a name as valid Unicode: bytes of a file's name that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def checked_faults(
    path: Path,
    faults: Sequence[tuple[str, str]],
    good: int,
    broken: float,
    shown: Callable[[str], str] = readable,
) -> str:
    """Return a sentence about the broken pictures, "" without any. Errors: `InputError` where there are too many.

    faults: the name and the fault of each; `shown` makes of a name what people read. good: the other pictures.
    """
    if not faults:
        return ""
    total, count = good + len(faults), len(faults)
    first = "; ".join(f"{shown(name)} {fault}" for name, fault in faults[:SHOWN])
    more = f"; and {count - SHOWN:,} more" if count > SHOWN else ""
    said = f"{count:,} of {total:,} pictures cannot be used: {first}{more}"
    most = max(FEW, broken * total) if broken else 0
    if not good or count > most:
        why = "none is left" if not good else f"more than broken={broken:g} allows"
        raise InputError(f"{path}: {said}. That is {why}; repair them or take them out")
    return f"{said}. They are left out"


def picture_notes(pictures: Pictures, broken: int, said: str) -> dict[str, Any]:
    """Return what to note of decoded pictures, and of so many broken ones, of which `said` tells."""
    notes: dict[str, Any] = {}
    if isinstance(pictures, StoredPictures):
        notes["decoded"] = f"{pictures.nbytes / 1e6:,.1f} MB, kept in the cache"
    else:
        notes["decoded"] = "whenever read, as all would take more than store_gb"
    if said:
        notes |= {"broken": broken, "broken pictures": said}
    return notes


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the folder, below the top, and the name of each file."""
    for top, _, names in os.walk(folder):
        for name in names:
            yield Path(top).relative_to(folder).as_posix(), name
