"""The folder of an index: `index.json`, the writers' lock, and a folder for each generation."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from nearfar.errors import InputError, RunError
from nearfar.figures import finite, mapping
from nearfar.index.rows import KINDS, Kinds
from nearfar.storage.folders import write_json
from nearfar.storage.places import ensure_folder, write_error

_TEXT = (str, type(None))
_KINDS: dict[str, Any] = {
    "model": _TEXT,
    "fingerprint": _TEXT,
    "language": _TEXT,
    "rows": int,
    "digest": str,
    "built_from": (dict, type(None)),
    "keeps_thumbnails": bool,
}
FORMAT = 2  # 2: words.db has the lengths of texts in blocks
INDEX_FILE, GENERATIONS = "index.json", "generations"  # by which the folder of an index is known
_LOCK = "lock"
_PATIENCE = 300.0  # seconds to wait for another writer
_PAUSE = 0.01  # between two tries, in seconds


@dataclass(frozen=True)
class Generation:
    """What `index.json` says of a generation.

    backend: its name and settings. model: the path as it was given. fingerprint: of the model's space; None where rows
    came as vectors of a model that is not known. rows, digest, language: as of when a writer closed it last.
    approximate: of an approximate index its "settings" and what was measured of it (`recall.build_to_recall`).
    built_from: of documents, what they came from. keeps_thumbnails: whether rows that are pictures get one.
    """

    backend: Mapping[str, Any]
    dim: int
    model: str | None = None
    fingerprint: str | None = None
    fields: Kinds = field(default_factory=dict)
    rows: int = 0
    digest: str = "0" * 32
    language: str | None = None
    approximate: Mapping[str, Any] | None = None
    built_from: Mapping[str, Any] | None = None
    keeps_thumbnails: bool = True

    @classmethod
    def read(cls, where: str, values: Mapping[str, Any]) -> Self:
        """Return one from a file's values. Errors: `InputError` for what none can have."""
        known = {each.name for each in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        backend, dim, kinds = mapping(found.get("backend")), found.get("dim"), found.get("fields", {})
        sound = isinstance(backend.get("name"), str) and type(dim) is int and dim > 0 and isinstance(kinds, dict)
        if not sound or not all(isinstance(kind, str) and kind in KINDS for kind in kinds.values()):
            raise InputError(f"{where}: is damaged: backend, dim or fields are missing or wrong; build the index again")
        for name, kind in _KINDS.items():
            if name in found and not isinstance(found[name], kind):
                raise InputError(f"{where}: is damaged: {name} is {found[name]!r:.40}; build the index again")
        if (given := found.get("approximate")) is not None and not _is_measured(mapping(given)):
            raise InputError(f"{where}: is damaged: approximate is not what was measured; build the index again")
        return cls(**found)

    @property
    def searched_by(self) -> dict[str, Any] | None:
        """The settings of the approximate index by which it is searched; None where every row is compared."""
        return None if self.approximate is None else mapping(self.approximate["settings"])


@dataclass(frozen=True)
class Contents:
    """What `index.json` says: the generations by number, and which one is searched."""

    current: int
    generations: Mapping[int, Generation]

    @property
    def searched(self) -> Generation:
        """The generation that is searched."""
        return self.generations[self.current]

    def with_one(self, number: int, generation: Generation) -> Contents:
        """Return the contents with a generation added or replaced."""
        return Contents(self.current, {**self.generations, number: generation})


class IndexFolder:
    """The folder's files. Errors: `InputError` for one that is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, int, int], Contents] | None = None  # with the file's time, number and size

    def place(self, generation: int) -> Path:
        """Return the folder of a generation."""
        return self.path / GENERATIONS / f"{generation:06}"

    def is_there(self) -> bool:
        """Return whether there is an index."""
        return (self.path / INDEX_FILE).is_file()

    def contents(self) -> Contents:
        """Return what `index.json` says now."""
        path = self.path / INDEX_FILE
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                version = (found.st_mtime_ns, found.st_ino, found.st_size)
                if self._read is None or self._read[0] != version:
                    self._read = version, _contents(path, file.read())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{self.path}: no index there ({INDEX_FILE} is missing); make one: nearfar index build"
            ) from error
        return self._read[1]

    def write(self, contents: Contents) -> None:
        """Replace `index.json`; a reader sees the old one or the new one."""
        generations = {str(number): asdict(each) for number, each in sorted(contents.generations.items())}
        write_json(self.path / INDEX_FILE, {"format": FORMAT, "current": contents.current, "generations": generations})

    @contextmanager
    def lock(self, patience: float = _PATIENCE) -> Iterator[None]:
        """Be the only writer, among threads and processes; wait for others for so many seconds.

        The lock is the operating system's, so it ends with its process, however that ends. Errors: `RunError` where
        another writer does not end, or the file system has no locks.
        """
        ensure_folder(self.path)
        descriptor = _locked(self.path / _LOCK, patience)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def making(self) -> Iterator[None]:
        """Be the only writer, of an index that is not there yet; after an error no file or folder of it is left.

        Errors: as of `lock`.
        """
        made = [place for place in (self.path, *self.path.absolute().parents) if not place.exists()]
        try:
            with self.lock():
                try:
                    yield
                except BaseException:
                    if not self.is_there():  # else it is another's
                        _remove_empty([self.path / GENERATIONS])
                        (self.path / _LOCK).unlink(missing_ok=True)  # who waits for it sees that it is deleted
                    raise
        except BaseException:
            _remove_empty(made)
            raise


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, those inside first, as far as they are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _locked(path: Path, patience: float) -> int:
    """Return the descriptor of a lock file that this process now holds, and that is still there."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            ensure_folder(path.parent)  # who made the folder has removed it again
            continue
        except OSError as error:
            raise write_error(path, error) from error
        try:
            _wait(path, descriptor, patience)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_measured(found: Mapping[str, Any]) -> bool:
    numbers = ("recall", "asked", "milliseconds", "exact_milliseconds", "queries", "rows", "k")
    words = isinstance(found.get("settings"), dict) and isinstance(found.get("date"), str)
    return words and all(finite(found.get(name)) is not None for name in numbers)


def _wait(path: Path, descriptor: int, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise RunError(f"{path}: cannot be locked ({error.strerror}); put the index on a local disk") from error
            if time.monotonic() > until:
                raise RunError(
                    f"{path}: another process has been writing for {patience:.0f} s; try again later"
                ) from error
            time.sleep(_PAUSE)
        else:
            return


def _contents(path: Path, text: bytes) -> Contents:
    try:
        found = mapping(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error}); build the index again") from error
    if found.get("format") != FORMAT:
        raise InputError(f"{path}: of format {found.get('format')!r:.40}, this version reads {FORMAT}; build it again")
    generations = {
        int(number): Generation.read(str(path), mapping(values))
        for number, values in mapping(found.get("generations")).items()
        if number.isdecimal()
    }
    if type(current := found.get("current")) is not int or current not in generations:
        raise InputError(f"{path}: is damaged: generation {current!r:.40} is missing; build the index again")
    return Contents(current, generations)
