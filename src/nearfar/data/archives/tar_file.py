"""The members of a tar, also compressed, read once from its beginning to its end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast

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

    def names(self) -> list[str] | None:
        """Return nothing, as only reading the whole tar would tell."""
        return None

    def read(self, name: str) -> bytes:
        """Refuse: a tar is read in order."""
        raise InputError(f"{self.path}: {name!r}: a compressed tar is read in order; unpack it and give the folder")

    def members(self) -> Iterator[Member]:
        """Yield the wanted members in order."""
        with explain_damage(self.path), explain_read_errors(self.path), open_bytes(self.path) as file:
            limited = cast("IO[bytes]", _Limited(file, self.path))
            with tarfile.open(fileobj=limited, mode="r|", bufsize=_READ, tarinfo=TarHeader) as tar:
                yield from self._members(tar)

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
        return self._problem_of(info.name, info.size, kind_problem(info))

    def _problem_of(self, name: str, size: int, problem: str) -> str:
        """Return why a member is not read, or nothing. problem: the one that its kind has."""
        return problem or unsafe(name) or self._wanted.problem(size)


def kind_problem(info: tarfile.TarInfo) -> str:
    """Return why a member of such a kind has no bytes, or nothing."""
    if info.issym() or info.islnk():
        return LINK
    return "" if info.isreg() and not info.issparse() else NOT_A_FILE


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turn the errors of a tar that is damaged or cut off into an `InputError` that names it."""
    try:
        yield
    except (tarfile.TarError, _DamagedError) as error:
        raise InputError(f"{path}: the tar is damaged or cut off ({error}); copy or download it again") from error


class TarHeader(tarfile.TarInfo):
    """A member's header. The end of a tar is a block of zeros: anything else that is no header is damage."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in a block. Errors: `_DamagedError` where there is none."""
        try:
            info: Any = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            what = "it ends without a mark of its end" if not buf else f"no header where one must be: {error}"
            raise _DamagedError(what) from error
        if info.size < 0:  # after which older versions of `tarfile` read on for ever
            raise _DamagedError(f"a member of {info.size:,} bytes")
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
