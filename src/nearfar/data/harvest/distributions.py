"""Where Python source lies: the standard library, the installed distributions, or folders of one's own."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
import re
import stat
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint

STANDARD_LIBRARY = "python"
_TESTS = {"test", "tests", "idle_test"}  # of the standard library
_NO_SOURCE = {"__pycache__", "site-packages", "dist-packages", "node_modules"}


@dataclass(frozen=True)
class Distribution:
    """Files that were published together, in order of their paths, and a digest that changes with them."""

    name: str
    version: str
    files: tuple[File, ...]
    digest: str


def folders(paths: Sequence[Path]) -> list[Distribution]:
    """Return each folder as one distribution that bears its name.

    Errors: a path that is no folder; two folders of one name.
    """
    paths = [path.resolve() for path in paths]
    for path in paths:
        if not path.is_dir():
            raise InputError(f"paths: {path} is no folder; name folders that hold .py files")
    names = Counter(path.name for path in paths)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"paths: two folders are called {twice[0]!r}; give one of them another name")
    return [_folder(path.name, "0", path, _NO_SOURCE) for path in sorted(paths, key=lambda path: path.name)]


def environment() -> tuple[list[Distribution], Counter[str]]:
    """Return the standard library and the distributions on `sys.path`, and how many were passed over, by reason."""
    skipped: Counter[str] = Counter()
    installed: dict[str, tuple[str, importlib.metadata.Distribution]] = {}
    for distribution in importlib.metadata.distributions():
        name, version = _name_and_version(distribution)
        if not name or name in installed:  # the first on sys.path is the one that an import finds
            skipped["found twice" if name else "without metadata"] += 1
        else:
            installed[name] = version, distribution
    library = Path(sysconfig.get_path("stdlib"))
    found = [_folder(STANDARD_LIBRARY, platform.python_version(), library, _NO_SOURCE | _TESTS)]
    owned: set[str] = set()
    for name, (version, distribution) in sorted(installed.items()):
        try:
            found.append(_installed(name, version, distribution, owned))
        except _NotHarvestedError as reason:
            skipped[str(reason)] += 1
    return sorted(found, key=lambda found: found.name), skipped


def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    # Not distribution.metadata: parsing a long description as an e-mail takes milliseconds each.
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, ValueError):
        return "", ""
    fields = dict(re.findall(r"^(Name|Version):[ \t]*(\S+)", text.partition("\n\n")[0], re.MULTILINE))
    return re.sub(r"[-_.]+", "-", fields.get("Name", "")).lower(), fields.get("Version", "0")


class _NotHarvestedError(Exception):
    """Says why a distribution is passed over."""


def _installed(name: str, version: str, distribution: importlib.metadata.Distribution, owned: set[str]) -> Distribution:
    """Return a distribution's files by its RECORD; one that another distribution owns is left to that one."""
    try:
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
        lines = (distribution.read_text("RECORD") or "").splitlines()
        rows = [(row[0], row[1], int(row[2] or 0)) for row in csv.reader(line for line in lines if ".py," in line)]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise _NotHarvestedError("damaged metadata") from error
    if direct.get("dir_info", {}).get("editable"):
        raise _NotHarvestedError("editable")
    if not lines:
        raise _NotHarvestedError("without RECORD")
    root, files, digests = os.fspath(Path(str(distribution.locate_file("")))), [], []
    for relative, digest, size in sorted(rows):
        path = os.path.join(root, relative)  # noqa: PTH118 (fifteen thousand of them: ten times as fast as a Path)
        if relative.endswith(".py") and not relative.startswith(("..", "/")) and path not in owned:
            owned.add(path)
            files.append(File(path, _module(relative), size))
            digests.append((relative, digest, size))
    if not files:
        raise _NotHarvestedError("without Python source")
    return Distribution(name, version, tuple(files), fingerprint(repr(digests)))


def _folder(name: str, version: str, root: Path, excluded: set[str]) -> Distribution:
    found = sorted((path.relative_to(root).as_posix(), path, status) for path, status in _walk(root, excluded))
    files = tuple(File(os.fspath(path), _module(relative), status.st_size) for relative, path, status in found)
    stamps = [(relative, status.st_size, status.st_mtime_ns) for relative, _, status in found]
    return Distribution(name, version, files, fingerprint(repr(stamps)))


def _walk(root: Path, excluded: set[str]) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in excluded and not name.startswith(".")]
        for path in (Path(folder, file) for file in files if file.endswith(".py")):
            try:
                status = path.stat()
            except OSError:  # a link to nowhere
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _module(relative: str) -> str:
    return relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class File:
    """A file of a distribution: where it is, the module it holds, and its size in bytes as far as it is known."""

    path: str
    module: str
    size: int
