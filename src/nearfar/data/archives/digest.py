"""The digest of what files hold. It is remembered for files that have not changed, so large ones are read once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from nearfar.data.tables.files import explain_read_errors
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import write_text
from nearfar.storage.places import cache_folder

_SETTLED = 2.0  # seconds; a file that changed later than that before it was read may have changed twice in one tick


def content_digest(files: Sequence[Path], top: Path) -> str:
    """Return a hash of the files' contents and of their names below `top`, in order.

    A digest is remembered by the files' names, sizes, times and inodes, where none has changed within two seconds.
    """
    now = time.time()
    with explain_read_errors(top):
        about = [file.stat() for file in files]
    seen = [(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino, one.st_dev) for one in about]
    names = [_below(file, top) for file in files]
    memo = cache_folder("pictures") / "digests" / fingerprint("digest 1", str(top.resolve()), names, seen)
    if memo.is_file():
        return memo.read_text(encoding="ascii")
    digest = hashlib.blake2b(digest_size=16)
    for name, file in zip(names, files, strict=True):
        digest.update(f"{len(name)} {name}".encode("utf-8", "surrogateescape"))
        with explain_read_errors(file), file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest())
    found = digest.hexdigest()
    if all(max(one.st_mtime, one.st_ctime) < now - _SETTLED for one in about):
        write_text(memo, found)
    return found


def _below(file: Path, top: Path) -> str:
    """Return a file's name below a folder; nothing where it is the top itself, as its own name says nothing."""
    return "" if file == top else file.relative_to(top).as_posix()
