"""The members of a tar, also compressed, read once from its beginning to its end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, Self, cast

from nearfar.data.archives.members import LINK, NOT_A_FILE, Member, Wanted, plain, stands_for_too_much, unsafe
from nearfar.data.tables.files import explain_read_errors, open_bytes
from nearfar.errors import InputError

LONGEST_NAME = 1 << 20  # bytes of a member's name or of what a header of pax adds to it
_ADDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_READ = 1 << 16  # bytes of a tar that are read at a time


class _DamagedError(Exception):
    """A header that is none, where `tarfile` would take it for the end, and lose what follows without a word."""


class Tar:
    """The wanted members of a tar, an `Archive`; compressed by gzip, bzip2, xz or zstd, or not at all."""

    any_order = False

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self._wanted = path, wanted

    def files(self) -> list[Path]:
        """Return the tar."""
        return [self.path]

    def names(self) -> None:
        """Return nothing, as only reading the whole tar would tell."""

    def read(self, name: str) -> NoReturn:
        """Refuse: a tar is read in order."""
        raise InputError(f"{self.path}: {name!r}: a tar is read in order; unpack it and give the folder")

    def members(self) -> Iterator[Member]:
        """Yield the wanted members in order."""
        try:
            with explain_read_errors(self.path), open_bytes(self.path) as file:
                limited = cast("IO[bytes]", _Limited(file, self.path))
                with tarfile.open(fileobj=limited, mode="r|", bufsize=_READ, tarinfo=_Header) as tar:
                    yield from self._members(tar)
        except (tarfile.TarError, _DamagedError) as error:
            raise InputError(
                f"{self.path}: the tar is damaged or cut off ({error}); copy or download it again"
            ) from error

    def _members(self, tar: tarfile.TarFile) -> Iterator[Member]:
        for info in tar:
            cast("Any", tar).members.clear()  # else it keeps all of them
            name = plain(info.name)
            if info.isdir() or not self._wanted(name):
                continue
            problem = self._problem(info)
            stream = None if problem else tar.extractfile(info)
            yield Member(name, problem=problem or NOT_A_FILE) if stream is None else Member(name, stream.read())

    def _problem(self, info: tarfile.TarInfo) -> str:
        if info.issym() or info.islnk():
            return LINK
        if not info.isreg() or info.issparse():
            return NOT_A_FILE
        return unsafe(info.name) or self._wanted.problem(info.size)


class _Header(tarfile.TarInfo):
    """A member's header. The end of a tar is a block of zeros: anything else that is no header is damage."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info: Any = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            what = "it ends without a mark of its end" if not buf else f"no header where one must be: {error}"
            raise _DamagedError(what) from error
        if info.type in _ADDED and info.size > LONGEST_NAME:
            raise _DamagedError(f"a name of {info.size / 1e6:,.0f} MB")
        found: Self = info
        return found


class _Limited(io.RawIOBase):
    """A stream that ends in an error where an archive stands for far more than its size."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path, self._read = stream, path, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._read += len(data)
        if error := stands_for_too_much(self._path, self._read):
            raise error
        return data
