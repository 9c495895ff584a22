"""Folders on disk: the cache, and writing so that a crash leaves the old or the new, never half."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from nearfar.errors import InputError, RunError


def cache_folder(name: str) -> Path:
    """Return (and make) a folder of nearfar's cache; the environment variable NEARFAR_CACHE moves it."""
    root = Path(os.environ.get("NEARFAR_CACHE") or platformdirs.user_cache_path("nearfar"))
    return made(root / name)


def made(folder: Path) -> Path:
    """Make a folder if need be; an unwritable place is the user's error, and names the place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder}: a file stands where a folder is needed; choose another place") from error
    except PermissionError as error:
        raise InputError(f"{folder}: not writable; choose another folder or change its permissions") from error
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return folder


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing (disk full, no permission) into one that says where."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: aside, synced, then renamed over the old one."""
    with writing(path):
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        finally:
            Path(aside).unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside a folder last through a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder")
