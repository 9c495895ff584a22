"""Atomic writes of folders and files: after a crash the old or the new one is there, whole."""

from __future__ import annotations

import fcntl
import glob
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nearfar.storage.places import ASIDE, ensure_folder, explain_write_errors, refuse_file_place

ABANDONED_AFTER = 86_400  # seconds; a temporary folder in which nothing was written for so long was left by a crash


@contextmanager
def write_folder_atomically(folder: Path, *, keep: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Give a temporary folder to write in, and rename it to `folder` afterwards; after an error, delete it.

    keep: whether the `folder` that is there by then stays. Give it for a folder that is named by its content: one that
    another process wrote meanwhile is equal and in use, and stays where it is whole.

    The parent of `folder` is made if need be (`ensure_folder`). Killed at any moment, the old or the new one is at
    `complete_folder(folder)`. Of several processes that write it, the last one's stays, whole.
    """
    ensure_folder(folder.parent)
    with explain_write_errors(folder):
        folder = folder.resolve() if folder.is_symlink() else folder  # the link stays
        _remove_abandoned(folder)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}{ASIDE}"))
        try:
            yield temporary
            temporary.chmod(0o755)
            _sync_all(temporary)
            _replace(temporary, folder, keep)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def complete_folder(folder: Path) -> Path:
    """Return where `folder` is complete: itself, or its backup, where a crash interrupted its replacement."""
    backup = _backup(folder)
    return backup if backup.is_dir() and not folder.exists() else folder


def _replace(new: Path, folder: Path, keep: Callable[[Path], bool]) -> None:
    """Rename `new` to `folder`. No portable system call swaps two folders: the old one is first renamed to a backup."""
    backup = _backup(folder)
    with _one_at_a_time(folder.parent):
        if keep(folder):
            return
        if folder.exists():
            shutil.rmtree(backup, ignore_errors=True)  # left by a crash after its replacement was complete
            folder.replace(backup)
        try:
            new.replace(folder)
        except OSError:
            if keep(folder):  # where a file system has no locks, another process may come between
                return
            if backup.exists():
                backup.replace(folder)
            raise
        _sync_folder(folder.parent)
        shutil.rmtree(backup, ignore_errors=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time rename what lies in a folder; the system's lock ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of file systems that have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _backup(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders that crashes left; a recent one may belong to another process at work."""
    for temporary in folder.parent.glob(f".{glob.escape(folder.name)}{ASIDE}????????"):
        with suppress(FileNotFoundError):  # its process has just ended
            newest = max(path.stat().st_mtime for path in (temporary, *temporary.rglob("*")))
            if time.time() - newest > ABANDONED_AFTER:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def write_file_atomically(path: Path) -> Iterator[Path]:
    """Give an empty temporary file of the same suffix, and rename it to `path` afterwards; after an error, delete it.

    The folder of `path` is made if need be (`ensure_folder`). Where `path` is a link to a file, that file is replaced.
    """
    ensure_folder(path.parent)
    with explain_write_errors(path):
        refuse_file_place(path)
        path = path.resolve() if path.is_symlink() else path
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{ASIDE}", suffix=path.suffix)
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
    """Write a text file atomically, as UTF-8; of what UTF-8 cannot hold (lone surrogates) the escapes of JSON."""
    with write_file_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


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
