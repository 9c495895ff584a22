"""What is left out of a folder of documents: what its .gitignore files name, and what tools have made or installed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pathspec import GitIgnoreSpec

BY_GIT = "ignored by .gitignore"
BY_TOOLS = "installed packages, caches and build outputs"
_FILE = ".gitignore"
_LARGEST = 1 << 20  # bytes of a .gitignore
_MOST_STARS = 4  # in one pattern: with many, matching a name can take longer than anyone waits
_MADE = ("node_modules", "bower_components", "__pycache__", "*.egg-info")  # folders, wherever they are
_MARKS = {"pyvenv.cfg", "CACHEDIR.TAG"}  # files by which a virtual environment, and a cache, is known
_OUTPUTS = {"build", "dist", "target"}  # folders, beside one of these files
_PROJECTS = {
    *("pyproject.toml", "setup.py", "package.json", "Cargo.toml", "pom.xml", "build.gradle", "build.gradle.kts"),
    *("CMakeLists.txt", "composer.json", "mix.exs"),
}


class IgnoreRules:
    """The .gitignore files of a folder and its sub-folders, and of the repository in which it lies.

    They hold as git has them, the deepest file and the last line first, and for files that git tracks, too. Those above
    the folder do not count where they name the folder itself, which was asked for. problems: lines for the user.
    """

    def __init__(self, top: Path) -> None:
        self.problems: list[str] = []
        self._top = top
        self._inside: dict[str, GitIgnoreSpec] = {}  # by the folder's name below the top
        self._above = list(self._rules_above(top.resolve()))  # the nearest first, with the path from there to the top

    def _rules_above(self, top: Path) -> Iterator[tuple[GitIgnoreSpec, str]]:
        repository = next((place for place in (top, *top.parents) if (place / ".git").exists()), None)
        if repository is None:
            return
        own = [(place, _FILE) for place in top.parents if place.is_relative_to(repository)]
        found = []
        for place, name in [*own, (repository, ".git/info/exclude")]:
            spec = self._read(place / name, str(place / name))
            below = "".join(f"{part}/" for part in top.relative_to(place).parts)
            if spec is not None:
                found.append((spec, below))
                if below and spec.check_file(below).include:
                    return
        yield from found

    def enter(self, folder: str, names: Collection[str]) -> None:
        """Take in the rules of a folder, by its name below the top, before its entries are asked for."""
        if _FILE in names:
            name = f"{folder}/{_FILE}" if folder else _FILE
            spec = self._read(self._top / name, name)
            if spec is not None:
                self._inside[folder] = spec

    def names(self, name: str, *, is_folder: bool) -> bool:
        """Return whether a file or a folder, by its name below the top, is ignored."""
        asked = f"{name}/" if is_folder else name
        cut = len(name)
        while cut > 0:
            cut = max(name.rfind("/", 0, cut), 0)
            spec = self._inside.get(name[:cut])
            if spec is not None and (said := spec.check_file(asked[cut:].lstrip("/")).include) is not None:
                return said
        for spec, below in self._above:
            if (said := spec.check_file(below + asked).include) is not None:
                return said
        return False

    def _read(self, path: Path, name: str) -> GitIgnoreSpec | None:
        """Return the patterns of a file; None where there is none. A link is none, as for git."""
        try:
            if path.is_symlink() or not path.is_file():
                return None
            if path.stat().st_size > _LARGEST:
                self.problems.append(f"{name}: has more than {_LARGEST >> 20} MB, so its patterns do not count")
                return None
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            self.problems.append(f"{name}: cannot be read ({error.strerror}), so its patterns do not count")
            return None
        return GitIgnoreSpec.from_lines(
            line for number, line in enumerate(lines, 1) if self._counts(name, number, line)
        )

    def _counts(self, name: str, number: int, line: str) -> bool:
        """Return whether a line is a pattern that can be matched in a moment."""
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # to git it is no pattern either
            return False
        if len(re.findall(r"\*+", line)) > _MOST_STARS and not line.lstrip().startswith("#"):
            self.problems.append(f"{name}: line {number} has more than {_MOST_STARS} stars, so it does not count")
            return False
        return True


def is_made(name: str, siblings: Collection[str], inside: Collection[str]) -> bool:
    """Return whether a folder holds what tools have made or installed.

    name: its own. siblings: the names of what lies beside it. inside: of what lies in it.
    """
    if any(fnmatchcase(name, pattern) for pattern in _MADE) or not _MARKS.isdisjoint(inside):
        return True
    return name in _OUTPUTS and not _PROJECTS.isdisjoint(siblings)
