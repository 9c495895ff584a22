"""A tar that is not compressed: where its members lie is found once, and then any of them is read."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from functools import cached_property
from weakref import finalize

from nearfar.data.archives.digest import content_digest
from nearfar.data.archives.members import plain
from nearfar.data.archives.tar_file import Tar, TarHeader, explain_damage, kind_problem
from nearfar.data.tables.files import explain_read_errors
from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import write_text
from nearfar.storage.places import cache_folder


@dataclass(frozen=True)
class MemberPlace:
    """Where a member's bytes lie in a tar. raw: its name as written. problem: why it has no bytes, or nothing."""

    raw: str
    start: int
    size: int
    problem: str


class IndexedTar(Tar):
    """The wanted members of a tar without compression, an `Archive` that reads them in any order.

    The places of all members are read from the headers once, and kept in the cache by what the tar holds.
    """

    any_order = True

    def names(self) -> list[str]:
        """Return the members' names, in the order of the tar. Errors: `InputError` for a damaged tar."""
        return [name for place in self._places if self._wanted(name := plain(place.raw))]

    def size(self, name: str) -> int:
        """Return how many bytes a member has."""
        return self._by_name[name].size

    def problem(self, name: str) -> str:
        """Return why a member is not read, or nothing."""
        place = self._by_name[name]
        return self._problem_of(place.raw, place.size, place.problem)

    def read(self, name: str) -> bytes:
        """Return the bytes of one member, the first of its name. Errors: `InputError` where it has a problem."""
        place = self._by_name[name]
        if problem := self.problem(name):
            raise InputError(f"{self.path}: {name!r} {problem}")
        with explain_read_errors(self.path):
            data = os.pread(self._file, place.size, place.start)
        if len(data) < place.size:
            raise InputError(f"{self.path}: {name!r} is cut off; copy the archive again")
        return data

    @cached_property
    def _by_name(self) -> dict[str, MemberPlace]:
        return {plain(place.raw): place for place in reversed(self._places)}

    @cached_property
    def _file(self) -> int:
        """The tar, open for reading at any place, by several threads, as long as this object lives."""
        descriptor = os.open(self.path, os.O_RDONLY)
        finalize(self, os.close, descriptor)
        return descriptor

    @cached_property
    def _places(self) -> list[MemberPlace]:
        kept = cache_folder("pictures") / "tars" / fingerprint("tar 1", content_digest([self.path], self.path))
        try:
            return [MemberPlace(*row) for row in json.loads(kept.read_text(encoding="utf-8", errors="surrogateescape"))]
        except (OSError, ValueError, TypeError):  # not there, or damaged
            found = self._found()
        write_text(kept, json.dumps([[one.raw, one.start, one.size, one.problem] for one in found]))
        return found

    def _found(self) -> list[MemberPlace]:
        """Return the places of all members but folders, from the headers."""
        places = []
        with (
            explain_damage(self.path),
            explain_read_errors(self.path),
            self.path.open("rb") as file,
            tarfile.open(fileobj=file, mode="r:", tarinfo=TarHeader) as tar,
        ):
            for info in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
                if not info.isdir():
                    places.append(MemberPlace(info.name, info.offset_data, info.size, kind_problem(info)))
        return places
