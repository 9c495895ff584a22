"""The cache on disk of what is made of a column: tokens, pixels, vectors; an entry is written once, and whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, exact_ids
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import write_folder_atomically
from nearfar.storage.places import cache_folder

SIZES_FILE = "sizes.json"  # written last: the other files' sizes in bytes


def cached_folder(
    identity: tuple[Any, ...], column: Column, write: Callable[[Path], None], cache: str = "tokens"
) -> Path:
    """Return the folder that `write` fills from a column; it is written again only where it is missing or incomplete.

    identity: all that the files depend on, beside the column's content. cache: the name of nearfar's cache folder.
    """
    folder = cache_folder(cache) / fingerprint(*identity, exact_ids(column))
    if not _is_complete(folder):
        with write_folder_atomically(folder, keep=_is_complete) as new:
            write(new)
            sizes = {path.name: path.stat().st_size for path in new.iterdir()}
            (new / SIZES_FILE).write_text(json.dumps(sizes), encoding="utf-8")
    return folder


def _is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / SIZES_FILE).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def memory_mapped(path: Path, dtype: type[np.generic], size: int) -> npt.NDArray[Any]:
    """Return a file of `size` numbers as an array, memory-mapped."""
    return np.memmap(path, dtype, "r", shape=(size,)) if size else np.empty(0, dtype)
