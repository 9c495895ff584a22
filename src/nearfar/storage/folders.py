"""Folders and files on disk: the cache, and atomic writes. After a crash the old or the new one is there, whole."""

from __future__ import annotations

import glob
import json
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

ABANDONED_AFTER = 86_400  # seconds; an older temporary folder was left by a crash


def cache_folder(name: str) -> Path:
    """Return a folder of nearfar's cache, made if need be; the environment variable NEARFAR_CACHE moves the cache."""
    root = Path(os.environ.get("NEARFAR_CACHE") or platformdirs.user_cache_path("nearfar"))
    try:
        return ensure_folder(root / name)
    except InputError as error:
        raise InputError(f"{error}; this is the cache, which NEARFAR_CACHE=FOLDER moves") from error


def ensure_folder(folder: Path) -> Path:
    """Make a folder if need be, check that it can be written to, and return it.

    Errors: `InputError` where a file has its name or permission is denied; `RunError` for other errors (disk full).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise _no_folder(folder) from error
    except PermissionError as error:
        raise _not_writable(folder) from error
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def refuse_place(folder: Path) -> None:
    """Refuse a folder that could not be made or written to, as `ensure_folder` does, and make nothing."""
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), Path("/"))
    if not existing.is_dir():
        raise _no_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _not_writable(folder)


def refuse_used_folder(folder: Path, allowed: bool) -> None:
    """Refuse a folder that holds a run, unless that is to be resumed or replaced. Errors: `InputError`."""
    if not allowed and (folder / "events.jsonl").exists():
        raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")


def _no_folder(folder: Path) -> InputError:
    return InputError(f"{folder}: a file stands where a folder is needed; choose another place")


def _not_writable(folder: Path) -> InputError:
    return InputError(f"{folder}: not writable; choose another folder or change its permissions")


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing (disk full) into a `RunError` that names the path."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> RunError:
    """Return what to tell the user where the system could not write."""
    return RunError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder")


@contextmanager
def write_folder_atomically(folder: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary folder to write in, and rename it to `folder` afterwards; after an error, delete it.

    overwrite: whether a `folder` that exists by then is replaced. Use False for a folder that is named by its content:
    the existing one is equal and may be in use.

    The parent of `folder` is made if need be (`ensure_folder`). Killed at any moment, the old or the new one is at
    `complete_folder(folder)`.
    """
    ensure_folder(folder.parent)
    with explain_write_errors(folder):
        _remove_abandoned(folder)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            yield temporary
            temporary.chmod(0o755)
            _sync_all(temporary)
            if overwrite or not folder.exists():
                _replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def complete_folder(folder: Path) -> Path:
    """Return where `folder` is complete: itself, or its backup, where a crash interrupted its replacement."""
    backup = _backup(folder)
    return backup if backup.is_dir() and not folder.exists() else folder


def _replace(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`. No portable system call swaps two folders: the old one is first renamed to a backup."""
    backup = _backup(folder)
    if folder.exists():
        shutil.rmtree(backup, ignore_errors=True)  # left by a crash after its replacement was complete
        folder.replace(backup)
    try:
        new.replace(folder)
    except OSError:
        if backup.exists():
            backup.replace(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(backup, ignore_errors=True)


def _backup(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders that crashes left; a recent one may belong to another process at work."""
    for temporary in folder.parent.glob(f".{glob.escape(folder.name)}-*"):
        with suppress(FileNotFoundError):  # its process has just ended
            if time.time() - temporary.stat().st_mtime > ABANDONED_AFTER:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def write_file_atomically(path: Path) -> Iterator[Path]:
    """Give an empty temporary file of the same suffix, and rename it to `path` afterwards; after an error, delete it.

    The folder of `path` is made if need be (`ensure_folder`).
    """
    ensure_folder(path.parent)
    with explain_write_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            _sync_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with write_file_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_all(folder: Path) -> None:
    """Flush a folder and all that is in it to the disk, so that they survive a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_file(path)
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that a rename survives a power cut."""
    _sync_file(folder)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as a JSON file, atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(json_safe(value), indent=1, ensure_ascii=False) + "\n")


def json_safe(value: Any) -> Any:
    """Return plain values in which null replaces NaN and infinity, which JSON cannot write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner) for inner in value]
    return value
