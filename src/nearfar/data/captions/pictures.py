"""The pictures that captions name, found in a folder or an archive, decoded once, and what is wrong with the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfar.column import Ids
from nearfar.data.archives.folder import Folder
from nearfar.data.archives.members import LINK, Archive, Wanted, plain, unsafe
from nearfar.data.archives.open_archive import KNOWN, open_archive
from nearfar.data.picture_sets.members import WANTED
from nearfar.data.picture_sets.reading import ReadSettings, read_pictures
from nearfar.data.picture_sets.store import Pictures
from nearfar.data.tables.files import explain_read_errors
from nearfar.errors import InputError
from nearfar.pictures.decode import is_picture_name

MISSING = "is missing"
NO_PICTURE = "is no picture by its name (.jpg, .png, .webp, ...)"


@dataclass(frozen=True)
class NamedPictures:
    """The pictures of p names: the row (p,) of each in `pictures`, -1 where it cannot be used.

    faults: why not, by the place of the name. unnamed: pictures beside them that have no name.
    """

    pictures: Pictures
    rows: Ids
    faults: dict[int, str]
    unnamed: int = 0


def pictures_of(names: Sequence[str], archive: Archive, settings: ReadSettings) -> NamedPictures:
    """Return the pictures that names are those of an archive's members, which are decoded if they are not yet.

    Errors: `InputError` where there is none.
    """
    return _placed(archive, names, {name: name for name in names}, settings)


def pictures_in(where: Path, names: Sequence[str], settings: ReadSettings) -> NamedPictures:
    """Return the pictures of some paths below a folder, or of some members of an archive.

    In an archive a name is that of a member, or the end of the only one that ends so, behind a "/": "1.jpg" is
    "Images/1.jpg". Only pictures with a name are decoded, but of a compressed tar all.

    Errors: `InputError` where there is none of them, and for what is neither a folder nor an archive.
    """
    with explain_read_errors(where):
        is_folder = where.is_dir()
    if is_folder:
        files = NamedFiles(where, names, WANTED)
        return _placed(files, names, {name: plain(name) for name in names}, settings, files.unnamed())
    if not where.exists():
        raise InputError(f"data.image_text.pictures: {where}: no such file or folder; give a folder, or {KNOWN}")
    archive = open_archive(where, WANTED)
    known = archive.names()
    if known is None:  # only reading it tells
        pictures = read_pictures(archive, settings)
        known = [*pictures.names, *(name for name, _ in pictures.broken)]
    members = _members(names, known)
    chosen = set(members.values()) & set(known)
    if archive.any_order and chosen and len(chosen) < len(known):
        archive = open_archive(where, Wanted(chosen.__contains__, WANTED.largest, WANTED.too_large))
    return _placed(archive, names, members, settings, len(set(known) - chosen))


def _members(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return the member of each name; a name that is none stays as it is."""
    exact, by_last = set(known), dict[str, list[str]]()
    for member in known:
        by_last.setdefault(member.rpartition("/")[2], []).append(member)
    found = {}
    for name in names:
        end = plain(name)
        ending = [one for one in by_last.get(end.rpartition("/")[2], []) if one.endswith(f"/{end}")]
        found[name] = ending[0] if end not in exact and len(ending) == 1 else end
    return found


def _placed(
    archive: Archive, names: Sequence[str], members: dict[str, str], settings: ReadSettings, unnamed: int = 0
) -> NamedPictures:
    """Return the pictures of an archive by name. members: the member that each name is."""
    safe = [name for name in names if not unsafe(name)]
    known = archive.names()
    if known is not None and not set(known).intersection(members[name] for name in safe):
        why = f", which {fault}" if (fault := _unsafe(names[0])) else ""
        such = f"the {len(names):,} pictures that captions name, such as {names[0]!r:.80}{why}"
        holds = f"; it holds {known[0]!r:.80}" if known else ""
        raise InputError(f"{archive.path}: has none of {such}{holds}; give the folder or archive that has them")
    pictures = read_pictures(archive, settings)
    row_of = {name: row for row, name in reversed(list(enumerate(pictures.names)))}
    broken = dict(pictures.broken)
    rows, faults = np.full(len(names), -1, np.int64), {}
    for i, name in enumerate(names):
        member = members[name]
        if fault := _unsafe(name):
            faults[i] = fault
        elif member in row_of:
            rows[i] = row_of[member]
        else:
            faults[i] = broken.get(member, MISSING)
    return NamedPictures(pictures, rows, faults, unnamed)


def _unsafe(name: str) -> str:
    """Return why a path that a caption names must not be followed, or nothing."""
    return unsafe(name).replace("pack it", "write it").replace("the archive", "the pictures' folder")


class NamedFiles(Folder):
    """The files of some names below a folder, an `Archive`: no other file is looked at, and no link is followed."""

    def __init__(self, path: Path, names: Sequence[str], wanted: Wanted) -> None:
        self._named = {plain(name) for name in names if not unsafe(name)}
        self._linked: dict[Path, bool] = {path: False}
        super().__init__(path, wanted)

    def unnamed(self) -> int:
        """Return how many pictures lie beside those that are named."""
        named, count = set(map(str, self.files())), 0
        for folder in {file.parent for file in self.files()}:
            with explain_read_errors(folder), os.scandir(folder) as entries:
                count += sum(is_picture_name(entry.name) and entry.path not in named for entry in entries)
        return count

    def _found(self) -> Iterator[str]:
        for name in self._named:
            try:
                problem = self._problem_of(self.path / name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:  # a name that is too long, or has a zero in it
                problem = f"cannot be read ({error.strerror if isinstance(error, OSError) else error})"
            if problem:
                self._problems[name] = problem
            yield name

    def _problem_of(self, path: Path) -> str:
        about = path.lstat()
        if self._through_a_link(path.parent):
            return LINK
        return self._problem(about) or ("" if is_picture_name(path.name) else NO_PICTURE)

    def _through_a_link(self, folder: Path) -> bool:
        """Return whether a folder below the top is a link, or lies behind one."""
        if folder not in self._linked:
            self._linked[folder] = folder.is_symlink() or self._through_a_link(folder.parent)
        return self._linked[folder]
