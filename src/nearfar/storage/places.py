"""Places on disk: the cache, what can be written where, and what to tell the user where the system could not write."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from nearfar.errors import InputError, NearfarError, RunError
from nearfar.printable import is_encodable

WRONG_PLACE = {  # errors of the system by which another place would do; a full disk is none
    getattr(errno, name)
    for name in ("EACCES", "EEXIST", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOTDIR", "ENXIO", "EPERM", "EROFS")
}
ASIDE = ".new-"  # in the names of what is written aside; tempfile adds eight characters
_TEMPORARY = re.compile(rf"^\.(.+){re.escape(ASIDE)}[a-z0-9_]{{8}}(?:\.\w+)?$")


def cache_folder(name: str) -> Path:
    """Return a folder of nearfar's cache, made if need be; the environment variable NEARFAR_CACHE moves the cache."""
    return ensure_folder(cache_root() / name)


def cache_root() -> Path:
    """Return where nearfar's cache lies. Errors: `InputError` where the user has no home folder and names none."""
    if named := os.environ.get("NEARFAR_CACHE"):
        return Path(named)
    try:
        root = platformdirs.user_cache_path("nearfar")
    except RuntimeError:  # of newer releases of platformdirs; older ones return a name
        root = Path("~")
    if root.parts[0] == "~":
        raise InputError("the cache: there is no home folder; set HOME")
    return root


def _cache_hint(path: Path) -> str:
    """Return how the cache is moved, for an error about a path in it."""
    with suppress(InputError):
        if path.is_relative_to(cache_root()):
            return "; this is the cache, which NEARFAR_CACHE=FOLDER moves"
    return ""


def expanded(path: str | Path) -> Path:
    """Return a path with its ~ replaced by the home folder; one that nobody has stays, and is missing like any name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def ensure_folder(folder: Path) -> Path:
    """Make a folder if need be, check that it can be written to, and return it.

    Errors: `InputError` where a file has its name or permission is denied, and for names that are not UTF-8; `RunError`
    for other errors (disk full).
    """
    refuse_undecodable(folder)
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
    refuse_undecodable(folder)
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), Path("/"))
    if not existing.is_dir():
        raise _no_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _not_writable(folder)


def refuse_file_place(path: Path) -> None:
    """Refuse a file that could not be written, and make nothing: a folder or a device there, or a link to nothing."""
    refuse_place(path.parent)
    if path.is_dir():
        raise InputError(f"{path}: a folder stands where a file is to be written; choose another name")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file, and would be replaced by one; choose another name")
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: is a link to nothing; remove it, or choose another name")


def refuse_undecodable(path: Path) -> None:
    """Refuse a name whose bytes are not UTF-8: the libraries that read and write weights and pages take no other."""
    if not is_encodable(str(path)):
        raise InputError(f"{path}: its name is not UTF-8; rename it, or choose another")


def _no_folder(folder: Path) -> InputError:
    return InputError(f"{folder}: a file stands where a folder is needed; choose another place{_cache_hint(folder)}")


def _not_writable(folder: Path) -> InputError:
    return InputError(f"{folder}: not writable; choose another folder or change its permissions{_cache_hint(folder)}")


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing into one that names the path, see `write_error`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> NearfarError:
    """Return what to tell the user where the system could not write: `InputError` for a place that cannot be.

    Of a path in a temporary folder, it names where that was going to be.
    """
    path = Path(*(_TEMPORARY.sub(r"\1", part) for part in path.parts))
    why = f"{path}: cannot be written ({error.strerror or error})"
    if error.errno in WRONG_PLACE:
        return InputError(f"{why}; choose another place{_cache_hint(path)}")
    return RunError(f"{why}; free space or choose another folder{_cache_hint(path)}")
