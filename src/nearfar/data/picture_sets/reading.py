"""Reading the pictures of an archive: decoded into the cache, if they fit, else indexed, and decoded when read."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_id
from nearfar.data.archives.digest import content_digest
from nearfar.data.archives.members import Archive, Member
from nearfar.data.harvest.run import available_cores, progress_bar
from nearfar.data.picture_sets.store import PIXELS, Found, Pictures, StoredPictures, read_index
from nearfar.errors import InputError
from nearfar.pictures.decode import BadPictureError, decoded, size_of, stored_size
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import write_folder_atomically
from nearfar.storage.places import cache_folder

_T = TypeVar("_T")
_VERSION = 3  # raise it whenever the same files would give other pixels
_BATCH, _BATCH_OF_LARGE = 128, 4  # pictures of one job of a thread, at most; several jobs wait, decoded
_LARGE = 512  # pixels of the shorter side beyond which stored pictures may be large
_BATCH_BYTES = 4 << 20  # of files in one job, beyond which it is full
_PROBED = 64  # pictures whose headers are read to estimate the size of all


@dataclass(frozen=True)
class ReadSettings:
    """How pictures are read. side: of the shorter side, at most. most_bytes: of the decoded pixels on disk.

    threads: that decode; None: as many as there are cores, up to 8. progress: whether a bar is shown; None: on a
    terminal.
    """

    side: int | None
    most_bytes: float
    threads: int | None
    progress: bool | None

    def workers(self) -> int:
        """Return the number of threads."""
        return self.threads or min(8, available_cores())


@dataclass(frozen=True)
class _Outcome:
    """What became of a member: its content id and its picture, if that was decoded, or its fault."""

    name: str
    content: int = 0
    picture: npt.NDArray[np.uint8] | None = None
    fault: str = ""


class _TooLargeError(Exception):
    """The decoded pictures do not fit."""


def read_pictures(archive: Archive, settings: ReadSettings) -> Pictures:
    """Return an archive's pictures from the cache, into which they are decoded the first time, if they fit.

    Errors: `InputError` for an archive that is damaged; for one that does not fit and can only be read in order.
    """
    root = cache_folder("pictures")
    content = (_VERSION, content_digest(archive.files(), archive.path), "\n".join(archive.names() or []), settings.side)
    stored = root / fingerprint("decoded", *content)
    indexed = root / fingerprint("index", *content, settings.most_bytes)  # with another limit they may fit
    if (kept := _whole(lambda: StoredPictures(stored))) is not None:
        return kept
    size, said = _estimate(archive, settings.side)
    fits = size <= min(settings.most_bytes, shutil.disk_usage(root).free)
    known = _whole(lambda: DecodedWhenRead(archive, indexed, settings))
    if not archive.any_order or (known is None and fits):
        try:
            with (
                write_folder_atomically(stored, keep=lambda at: bool(_whole(lambda: StoredPictures(at)))) as folder,
                (folder / PIXELS).open("wb") as file,
            ):
                _pass(archive, settings, said, file).write(folder)
            return StoredPictures(stored)
        except _TooLargeError:
            if not archive.any_order:
                raise InputError(
                    f"{archive.path}: its pictures take more than {settings.most_bytes / 1e9:,.1f} GB decoded, and a "
                    "compressed tar can only be read in order; decompress it, or raise data.store_gb"
                ) from None
    if known is None:
        with write_folder_atomically(indexed, keep=lambda at: bool(_whole(lambda: read_index(at)))) as folder:
            said = f"looking at pictures too large to keep, about {size / 1e6:,.0f} MB"
            _pass(archive, settings, said, None).write(folder)
    return known or DecodedWhenRead(archive, indexed, settings)


def _whole(opened: Callable[[], _T]) -> _T | None:
    """Return what the cache has; None where it is missing or damaged: it is then made anew."""
    try:
        return opened()
    except (OSError, ValueError, KeyError):
        return None


class DecodedWhenRead:
    """Pictures that are too large to keep decoded: a few threads decode them whenever they are read.

    Their content ids are those of their files' bytes.
    """

    def __init__(self, archive: Archive, folder: Path, settings: ReadSettings) -> None:
        self._archive, self._side = archive, settings.side
        index, self.names, self.broken = read_index(folder)
        self.ids = index[:, 0].copy()
        self._threads = ThreadPoolExecutor(settings.workers(), "nearfar-pictures")

    def read_rows(self, rows: Ids) -> list[npt.NDArray[np.uint8]]:
        """Return some pictures, each (h, w, 3). Errors: `InputError` for one that is damaged, by name."""
        return list(self._threads.map(self._read, [self.names[row] for row in rows.tolist()]))

    def _read(self, name: str) -> npt.NDArray[np.uint8]:
        try:
            return decoded(self._archive.read(name), self._side)
        except BadPictureError as error:
            raise InputError(f"{self._archive.path}: {name!r} {error}; repair it, or take it out") from error


def _estimate(archive: Archive, side: int | None) -> tuple[float, str]:
    """Return the bytes of all pictures decoded, from the headers of some, and a sentence of it for people.

    Of an archive that can only be read in order, its own size is all that is known.
    """
    names = archive.names()
    if names is None:
        return 0.0, f"decoding {archive.path.name}, {archive.path.stat().st_size / 1e6:,.1f} MB packed"
    sizes = []
    for row in np.unique(np.linspace(0, len(names) - 1, _PROBED).astype(int)).tolist() if names else []:
        try:
            height, width = stored_size(*size_of(archive.read(names[row])), side)
            sizes.append(3 * height * width)
        except (BadPictureError, InputError):
            continue
    size = len(names) * float(np.mean(sizes)) if sizes else 0.0
    return size, f"decoding {len(names):,} pictures, about {size / 1e6:,.0f} MB, once"


def _pass(archive: Archive, settings: ReadSettings, said: str, file: BinaryIO | None) -> Found:
    """Read all members once, in order; decode them into a file, where there is one, else look at their headers."""
    found, seen = Found(), set[str]()
    names = archive.names()

    def one(member: Member) -> _Outcome:
        return _outcome(member, settings.side, keep=file is not None)

    total = None if names is None else len(names)
    with progress_bar(said, total, settings.progress, of_bytes=False) as advance:
        most = _BATCH if settings.side is not None and settings.side <= _LARGE else _BATCH_OF_LARGE
        for outcome in _in_threads(one, _batches(archive.members(), most), settings.workers()):
            advance(1)
            fault = outcome.fault or ("is the second of its name" if outcome.name in seen else "")
            seen.add(outcome.name)
            if fault:
                found.broken.append((outcome.name, fault))
                continue
            found.add(outcome.name, outcome.content, outcome.picture, file)
            if found.pixels > settings.most_bytes:
                raise _TooLargeError
    if not found.names and not found.broken:
        raise InputError(f"{archive.path}: holds no picture; put .jpg, .png, .webp, .gif, .bmp or .tif files into it")
    return found


def _outcome(member: Member, side: int | None, *, keep: bool) -> _Outcome:
    """Return what becomes of a member. keep: it is decoded; else only its header is looked at."""
    if member.problem:
        return _Outcome(member.name, fault=member.problem)
    try:
        if keep:
            picture = decoded(member.data, side)
            return _Outcome(member.name, content_id(picture), picture)
        size_of(member.data)
        return _Outcome(member.name, content_id(member.data))
    except BadPictureError as error:
        return _Outcome(member.name, fault=str(error))


def _in_threads(one: Callable[[Member], _Outcome], batches: Iterator[list[Member]], threads: int) -> Iterator[_Outcome]:
    """Yield the outcome of each member, in order, with a few batches of them at work or waiting."""

    def batch(part: list[Member]) -> list[_Outcome]:
        return [one(member) for member in part]

    waiting: deque[Future[list[_Outcome]]] = deque()
    with ThreadPoolExecutor(threads, "nearfar-pictures") as pool:
        for part in batches:
            waiting.append(pool.submit(batch, part))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _batches(members: Iterator[Member], most: int) -> Iterator[list[Member]]:
    """Yield members in batches of at most so many, and of a few megabytes."""
    part: list[Member] = []
    size = 0
    for member in members:
        part.append(member)
        size += len(member.data)
        if len(part) == most or size > _BATCH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
