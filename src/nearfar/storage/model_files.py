"""Reading the files of a model folder, which may come from anybody: plain files inside it only, and plain JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from nearfar.errors import InputError

LARGEST_JSON = 1 << 28  # bytes; the largest tokenizers have some ten million


def refuse_special_files(folder: Path) -> None:
    """Refuse a folder that holds anything but folders and plain files, or a link that leaves it.

    A pipe, a device or a socket would hang whoever opens it, so that nothing is opened here. Links into the blobs of
    the hub's cache, of which its snapshots consist, are followed.

    Errors: `InputError` naming the file.
    """
    root = folder.resolve()
    snapshots = next((parent for parent in root.parents if parent.name == "snapshots"), root)
    blobs = snapshots.parent / "blobs"  # the files of the hub's cache that a snapshot links to
    for parent, folders, names in os.walk(folder):
        for name in folders:
            if (Path(parent) / name).is_symlink():
                raise InputError(f"{Path(parent) / name}: a link to a folder; nearfar follows none. Copy it instead")
        for name in names:
            path = Path(parent) / name
            _refuse_special(path)
            target = path.resolve() if path.is_symlink() else path
            if target is not path and not target.is_relative_to(root) and target.parent != blobs:
                raise InputError(f"{path}: a link that leaves the folder; nearfar follows none. Copy the file instead")


def _refuse_special(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:  # a link to nothing, or to itself
        raise InputError(f"{path}: not readable ({error.strerror or error}); copy the model folder again") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a pipe, device or socket, no file of a model; delete it")


def read_json(path: Path) -> Any:
    """Read a JSON file. Errors: `InputError` for a file that is missing, too large, no plain file, or is not JSON."""
    try:
        _refuse_special(path)
        if path.stat().st_size > LARGEST_JSON:
            raise InputError(f"{path}: {path.stat().st_size} bytes are too many for JSON; copy the model folder again")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable ({error}); copy the model folder again") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON object. Errors: `InputError` for a file that is missing, or is not a JSON object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: not an object of settings; copy the model folder again")
    return found
