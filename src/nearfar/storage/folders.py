"""Folders on disk: the cache, and writing so that a crash leaves the old or the new, never half."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from nearfar.errors import InputError, RunError

ABANDONED = 86_400  # seconds after which a half-written folder has no writer any more


def cache_folder(name: str) -> Path:
    """Return (and make) a folder of nearfar's cache; the environment variable NEARFAR_CACHE moves it."""
    root = Path(os.environ.get("NEARFAR_CACHE") or platformdirs.user_cache_path("nearfar"))
    try:
        return made(root / name)
    except InputError as error:
        raise InputError(f"{error}; this is the cache, which NEARFAR_CACHE=FOLDER moves") from error


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


@contextmanager
def folder_aside(place: Path, *, again: bool = True) -> Iterator[Path]:
    """Give an empty folder to write in; what was written then takes the place at once, or not at all after an error.

    again: what stands there by then is replaced; else it stays, as what is named by its content and may be in use.

    Its parent must exist. Killed at any moment, the old folder or the new one is whole at `standing(place)`.
    """
    with writing(place):
        _sweep(place)
        aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
        try:
            yield aside
            aside.chmod(0o755)
            _sync_all(aside)
            if again or not place.exists():
                _replace(aside, place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _replace(new: Path, place: Path) -> None:
    """No system call but Linux's own swaps two folders: the old one steps aside under a name that `standing` knows."""
    old = _stepped_aside(place)
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)  # left by a crash after the new one stood
        place.replace(old)
    try:
        new.replace(place)
    except OSError:
        if old.exists():
            old.replace(place)
        raise
    sync_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what a crash left half-written; a young one may be another process at work."""
    for left in place.parent.glob(f".{place.name}-*"):
        with suppress(FileNotFoundError):  # its writer has just ended
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def standing(place: Path) -> Path:
    """Return where the folder of a place lies: there, or beside it where a crash came just before its replacement."""
    old = _stepped_aside(place)
    return old if old.is_dir() and not place.exists() else place


def _stepped_aside(place: Path) -> Path:
    return place.parent / f".{place.name}.old"


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Give an empty file to write, of the same suffix; it takes the path's place at once, or not at all after an error.

    Its folder must exist.
    """
    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
        os.close(handle)
        aside = Path(name)
        try:
            yield aside
            aside.chmod(0o644)
            _sync_file(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: aside, synced, then renamed over the old one."""
    with file_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _sync_all(folder: Path) -> None:
    """Make what lies in a folder last through a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_file(path)
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make a rename inside a folder last through a power cut."""
    _sync_file(folder)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder")


def finite(value: Any) -> Any:
    """Return plain values with null in the place of numbers that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
