"""What an encoder makes of a column once (tokens, vectors): on disk, found again by its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, content_ids
from nearfar.errors import InputError, RunError
from nearfar.fingerprint import fingerprint
from nearfar.folders import cache_folder, folder_aside

SIZES = "sizes.json"  # written last: the other files' sizes in bytes


def cached(identity: tuple[Any, ...], column: Column, write: Callable[[Path], None], kind: str = "tokens") -> Path:
    """Return the folder of what `write` makes of a column; a folder that is cut off is made anew."""
    folder = cache_folder(kind) / fingerprint(*identity, content_ids(column))
    if _whole(folder):
        return folder
    try:
        with folder_aside(folder, again=folder.exists()) as aside:  # there, it is cut off
            write(aside)
            sizes = {path.name: path.stat().st_size for path in aside.iterdir()}
            (aside / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    except RunError:
        if _whole(folder):  # another run on the same data was first
            return folder
        raise
    return folder


def _whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def mapped(path: Path, kind: type[np.generic], size: int) -> npt.NDArray[Any]:
    """Return a file of so many numbers, memory-mapped."""
    return np.memmap(path, kind, "r", shape=(size,)) if size else np.empty(0, kind)


def no_token(column: str, row: int, cell: str) -> InputError:
    """Return the error for a text without any token."""
    return InputError(
        f"column {column!r}, row {row + 1}: the tokenizer has no token for {cell[:40]!r}, so it has no vector; leave "
        "the row out, or take another tokenizer"
    )
