"""Where Python source is: in the standard library, the installed distributions, or folders that the user names."""

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
_TEST_FOLDERS = {"test", "tests", "idle_test"}  # of the standard library
_SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages", "node_modules"}


@dataclass(frozen=True)
class Distribution:
    """Files that were published together, in order of their paths, and a hash that changes with them."""

    name: str
    version: str
    files: tuple[File, ...]
    digest: str


@dataclass(frozen=True)
class File:
    """A file of a distribution: its path, the module it holds, and its size in bytes (0 where RECORD has none)."""

    path: str
    module: str
    size: int


def folder_distributions(paths: Sequence[Path]) -> list[Distribution]:
    """Return each folder as one distribution of the folder's name.

    Errors: InputError for a path that is no folder, and for two folders of one name.
    """
    paths = [path.resolve() for path in paths]
    for path in paths:
        if not path.is_dir():
            raise InputError(f"paths: {path} is no folder; name folders that hold .py files")
    names = Counter(path.name for path in paths)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"paths: two folders are called {twice[0]!r}; give one of them another name")
    return [_from_folder(path.name, "0", path, _SKIPPED_FOLDERS) for path in sorted(paths, key=lambda path: path.name)]


def environment_distributions() -> tuple[list[Distribution], Counter[str]]:
    """Return the standard library and the distributions on `sys.path`, and how many were skipped, by reason."""
    skipped: Counter[str] = Counter()
    installed: dict[str, tuple[str, importlib.metadata.Distribution]] = {}
    for distribution in importlib.metadata.distributions():
        name, version = _name_and_version(distribution)
        if not name or name in installed:  # the first on sys.path is the one that an import finds
            skipped["found twice" if name else "without metadata"] += 1
        else:
            installed[name] = version, distribution
    library = Path(sysconfig.get_path("stdlib"))
    found = [_from_folder(STANDARD_LIBRARY, platform.python_version(), library, _SKIPPED_FOLDERS | _TEST_FOLDERS)]
    claimed: set[str] = set()  # paths of the files of the distributions so far
    for name, (version, distribution) in sorted(installed.items()):
        try:
            found.append(_from_record(name, version, distribution, claimed))
        except _SkippedError as reason:
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


class _SkippedError(Exception):
    """Says why a distribution is skipped."""


def _from_record(
    name: str, version: str, distribution: importlib.metadata.Distribution, claimed: set[str]
) -> Distribution:
    """Return a distribution with the files that its RECORD lists, except those that are `claimed` already."""
    try:
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
        lines = (distribution.read_text("RECORD") or "").splitlines()
        rows = [(row[0], row[1], int(row[2] or 0)) for row in csv.reader(line for line in lines if ".py," in line)]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise _SkippedError("damaged metadata") from error
    if direct.get("dir_info", {}).get("editable"):
        raise _SkippedError("editable")
    if not lines:
        raise _SkippedError("without RECORD")
    root, files, digests = os.fspath(Path(str(distribution.locate_file("")))), [], []
    for relative, digest, size in sorted(rows):
        path = os.path.join(root, relative)  # noqa: PTH118 (ten times as fast as a Path, and there are 15,000)
        if relative.endswith(".py") and not relative.startswith(("..", "/")) and path not in claimed:
            claimed.add(path)
            files.append(File(path, _module(relative), size))
            digests.append((relative, digest, size))
    if not files:
        raise _SkippedError("without Python source")
    return Distribution(name, version, tuple(files), fingerprint(repr(digests)))


def _from_folder(name: str, version: str, root: Path, excluded: set[str]) -> Distribution:
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
            except OSError:  # a broken link
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _module(relative: str) -> str:
    return relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
