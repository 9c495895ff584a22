"""The members of a zip, in the order in which they lie in it."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from nearfar.data.archives.members import LINK, Member, Wanted, plain, stands_for_too_much, unsafe
from nearfar.errors import InputError

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError)
_ENCRYPTED = 1  # of a member's flags


class Zip:
    """The wanted members of a zip, an `Archive`."""

    any_order = True

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self._wanted = path, wanted
        with self._open() as file:
            infos = sorted(file.infolist(), key=lambda info: info.header_offset)
        self._infos = [info for info in infos if not info.is_dir() and wanted(plain(info.filename))]
        self._by_name = {plain(info.filename): info for info in reversed(self._infos)}
        locked = next((info for info in self._infos if info.flag_bits & _ENCRYPTED), None)
        if locked is not None:
            raise InputError(f"{path}: {locked.filename!r} is encrypted; unpack it and give the folder")
        if error := stands_for_too_much(path, sum(info.file_size for info in self._infos)):
            raise error

    def files(self) -> list[Path]:
        """Return the zip."""
        return [self.path]

    def names(self) -> list[str]:
        """Return the members' names."""
        return [plain(info.filename) for info in self._infos]

    def members(self) -> Iterator[Member]:
        """Yield the members in the order in which they lie in the file."""
        with self._open() as file:
            for info in self._infos:
                name, problem = plain(info.filename), self._problem(info)
                if problem:
                    yield Member(name, problem=problem)
                    continue
                try:
                    yield Member(name, self._bytes(file, info))
                except _DAMAGED as error:
                    yield Member(name, problem=f"is damaged in the archive ({error})")

    def read(self, name: str) -> bytes:
        """Return the bytes of one member. Errors: `InputError` where it is damaged, or has a problem."""
        if problem := self._problem(self._by_name[name]):
            raise InputError(f"{self.path}: {name!r} {problem}")
        try:
            return self._bytes(self._kept_open, self._by_name[name])
        except _DAMAGED as error:
            raise InputError(f"{self.path}: {name!r} cannot be read ({error}); copy the archive again") from error

    @cached_property
    def _kept_open(self) -> zipfile.ZipFile:
        """The zip, open for reading members in any order: opening it reads the names of all of them."""
        return zipfile.ZipFile(self.path)

    def _bytes(self, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        with file.open(info) as stream:
            data = stream.read(self._wanted.largest + 1)  # the size that its header says may be wrong
        if problem := self._wanted.problem(len(data)):
            raise zipfile.BadZipFile(problem)
        return data

    def _problem(self, info: zipfile.ZipInfo) -> str:
        if stat.S_ISLNK(info.external_attr >> 16):
            return LINK
        return unsafe(info.orig_filename) or self._wanted.problem(info.file_size)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            file = zipfile.ZipFile(self.path)
        except (*_DAMAGED, RuntimeError) as error:
            raise InputError(
                f"{self.path}: the zip is damaged or cut off ({error}); copy or download it again"
            ) from error
        with file:
            yield file
