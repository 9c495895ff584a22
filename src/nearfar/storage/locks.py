"""Locks: one process at a time writes a run's folder, or a file of the user's choosing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nearfar.errors import InputError
from nearfar.figures import mapping
from nearfar.storage.places import WRONG_PLACE, ensure_folder, write_error

_held: set[tuple[str, int, int]] = set()  # lock files, with the process and the thread that hold them


def inside(folder: Path) -> Path:
    """Return the lock file of a folder into which files are written one by one."""
    return folder / ".lock"


def beside(place: Path) -> Path:
    """Return the lock file of a file, or of a folder that is replaced as a whole."""
    place = place.resolve() if place.is_symlink() else place  # which is where it is written
    return place.parent / f".{place.name}.lock"


@contextmanager
def alone(place: Path, lock: Path) -> Iterator[None]:
    """Hold a lock file while `place` is written, and delete it afterwards. Of several ranks, the first alone does.

    The lock is the operating system's (flock), so it ends with its process, however that ends. What the file says of
    its holder is for people, and for file systems without locks, or whose locks do not reach other machines: there a
    holder that was not seen to end is refused, too. A thread that holds a lock may take it again.

    Errors: `InputError` where another holds it: who, where and since when; those of `ensure_folder`.
    """
    key = (os.path.realpath(lock), os.getpid(), threading.get_ident())
    if key in _held or os.environ.get("RANK", "0") != "0":
        yield
        return
    ensure_folder(lock.parent)
    descriptor = _taken(place, lock)
    _held.add(key)
    try:
        yield
    finally:
        _held.remove(key)
        with suppress(OSError):
            if os.fstat(descriptor).st_nlink:  # while it is held: who opened it meanwhile sees that it is deleted
                lock.unlink()
        os.close(descriptor)


@contextmanager
def run_folder(folder: Path, *, allowed: bool) -> Iterator[None]:
    """Hold the folder of a run, as `alone` does; refuse one that holds a run, unless that may go on or be replaced."""
    with alone(folder, inside(folder)):
        if not allowed and (folder / "events.jsonl").exists():
            raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")
        yield


def _taken(place: Path, lock: Path) -> int:
    """Return the descriptor of a lock file that this process now holds."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno not in WRONG_PLACE:
                raise write_error(place, error) from error
            raise InputError(f"{lock}: no lock file ({error.strerror}); delete it, or choose another place") from error
        try:
            locked, holder, us, found = _flock(descriptor), _holder(descriptor), _this_process(), os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or (found.st_size and not holder):
                raise InputError(
                    f"{lock}: no lock file (it is something else); move or delete it, or choose another place"
                )
            if found.st_nlink:  # else its holder has ended since it was opened
                here = not holder or holder.get("host") == us["host"] or holder.get("boot") == us["boot"]
                if locked is False or (holder and not (locked and here)):
                    raise _refusal(place, holder, lock if locked is None or not here else None)
                _write(descriptor, us, place, lock)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write(descriptor: int, holder: dict[str, Any], place: Path, lock: Path) -> None:
    """Write who holds a lock file; delete it where that fails, as on a full disk."""
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError as error:
        lock.unlink(missing_ok=True)
        raise write_error(place, error) from error


def _flock(descriptor: int) -> bool | None:
    """Lock a file; return False where another holds it, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _holder(descriptor: int) -> dict[str, Any]:
    """Return what a lock file says of its last holder; {} where it says nothing of one."""
    with suppress(OSError, ValueError, RecursionError):
        found = mapping(json.loads(os.pread(descriptor, 1000, 0)))
        return found if "process" in found else {}
    return {}


def _this_process() -> dict[str, Any]:
    """Return what tells this process from others. boot: of this start of the kernel, which containers share."""
    host = os.uname().nodename
    boot = Path("/proc/sys/kernel/random/boot_id")
    began = datetime.now(UTC).isoformat(" ", "seconds")
    return {"process": os.getpid(), "host": host, "boot": boot.read_text() if boot.exists() else host, "began": began}


def _refusal(place: Path, holder: dict[str, Any], lock: Path | None) -> InputError:
    """Return the error. lock: the file to delete, where the system does not know whether the holder still runs."""
    who = f"process {holder.get('process')} on {holder.get('host')}" if holder else "another process"
    since = f" since {holder.get('began')}" if holder else ""
    fix = "wait until it has ended" if lock is None else f"if it runs no more, delete {lock}"
    return InputError(f"{place}: {who} has been writing here{since}; {fix}, or choose another place")
