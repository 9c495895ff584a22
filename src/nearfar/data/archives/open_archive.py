"""Which kind of archive a path is."""

from __future__ import annotations

from pathlib import Path

from nearfar.data.archives.folder import Folder
from nearfar.data.archives.indexed_tar import IndexedTar
from nearfar.data.archives.members import Archive, Wanted
from nearfar.data.archives.tar_file import Tar
from nearfar.data.archives.zip_file import Zip
from nearfar.data.tables.files import COMPRESSED, PACKED, explain_read_errors
from nearfar.errors import InputError

_SHORT = (".tgz", ".tbz", ".tbz2", ".txz", ".tzst")  # of a compressed tar, in one word
_ZIPPED = (b"PK\x03\x04", b"PK\x05\x06")
KNOWN = ".zip, .tar, .tar.gz, .tar.bz2, .tar.xz or .tar.zst"


def is_archive_name(path: Path) -> bool:
    """Return whether a file's name says that it is a zip or a tar."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    last = suffixes[-1:] or [""]
    return last[0] in (".zip", ".tar", *_SHORT) or (suffixes[:1] == [".tar"] and last[0] in COMPRESSED)


def open_archive(path: Path, wanted: Wanted) -> Archive:
    """Return a folder, a zip or a tar; a zip is known by its first bytes.

    Errors: `InputError` for what is not there or cannot be read, and for a file of another kind.
    """
    with explain_read_errors(path):
        if path.is_dir():
            return Folder(path, wanted)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        if not path.is_file():
            raise InputError(f"{path}: is no regular file; give a folder, or {KNOWN}")
        with path.open("rb") as file:
            head = file.read(4)
    if not head:
        raise InputError(f"{path}: the file is empty; copy or download it again")
    if head in _ZIPPED or path.suffix.lower() == ".zip":
        return Zip(path, wanted)
    if not is_archive_name(path):
        raise InputError(f"{path}: is no archive by its name; give a folder, or {KNOWN}")
    packed = any(head.startswith(mark[:4]) for mark in PACKED)
    return Tar(path, wanted) if packed else IndexedTar(path, wanted)
