"""The files of a folder and its sub-folders, sorted by name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from nearfar.data.archives.members import LINK, NOT_A_FILE, Member, Wanted
from nearfar.errors import InputError


class Folder:
    """The wanted files of a folder, an `Archive`; what is no plain file, or a link, has a problem."""

    any_order = True

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self._wanted = path, wanted
        self._problems: dict[str, str] = {}
        self._names = sorted(self._found())

    def files(self) -> list[Path]:
        """Return the files without a problem."""
        return [self.path / name for name in self._names if name not in self._problems]

    def names(self) -> list[str]:
        """Return the files' names, relative to the folder."""
        return self._names

    def members(self) -> Iterator[Member]:
        """Yield the files, sorted by name."""
        for name in self._names:
            try:
                problem = self._problems.get(name, "")
                yield Member(name, b"" if problem else (self.path / name).read_bytes(), problem)
            except OSError as error:
                yield Member(name, problem=f"cannot be read ({error.strerror})")

    def read(self, name: str) -> bytes:
        """Return the bytes of one file. Errors: `InputError` where it is gone, or has a problem."""
        if problem := self._problems.get(name):
            raise InputError(f"{self.path / name}: {problem}")
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.path / name}: cannot be read ({error.strerror}); it was there before") from error

    def _found(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror}); allow reading it") from error

        for top, folders, files in os.walk(self.path, onerror=refuse):
            above = Path(top).relative_to(self.path)
            folders[:] = [name for name in folders if self._wanted(f"{name}/a.png")]  # those that are not hidden
            for name in folders:
                inner = (above / name).as_posix()
                if (Path(top) / name).is_symlink():
                    self._problems[inner] = LINK
                    yield inner
            for name in files:
                inner = (above / name).as_posix()
                if self._wanted(inner):
                    about = (Path(top) / name).lstat()
                    if problem := self._problem(about):
                        self._problems[inner] = problem
                    yield inner

    def _problem(self, about: os.stat_result) -> str:
        if stat.S_ISLNK(about.st_mode):
            return LINK
        return self._wanted.problem(about.st_size) if stat.S_ISREG(about.st_mode) else NOT_A_FILE
