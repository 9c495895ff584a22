"""The files of a folder that may hold documents; what is passed over is counted."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from nearfar.data.tables.files import explain_read_errors
from nearfar.data.tables.read import beir_corpus
from nearfar.errors import InputError
from nearfar.index.documents.ignored import BY_GIT, BY_TOOLS, IgnoreRules, is_made
from nearfar.index.folder import GENERATIONS, INDEX_FILE
from nearfar.printable import is_encodable
from nearfar.storage.places import expanded

_LONGEST = 1900  # bytes of a name, which is part of ids


@dataclass(frozen=True)
class FoundFile:
    """A file as it was found: its name below the folder, with "/" between the parts; size in bytes, time in ns."""

    name: str
    size: int
    changed: int


@dataclass
class FoundFiles:
    """The files below a folder, or one file, in order of their names.

    passed_over: how many were not taken, by reason; a folder counts once. unread: names of files and folders that could
    not be read now; problems: the lines for the user about them.
    """

    top: Path
    files: list[FoundFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def is_unread(self, name: str) -> bool:
        """Return whether a file may be there, in a folder that could not be read."""
        return any(name == other or name.startswith(f"{other}/") for other in self.unread)

    def left_out(self) -> str:
        """Return what was passed over, for errors about what is left: " (passed over: 2 hidden)"."""
        return f" (passed over: {reasons(self.passed_over)})" if self.passed_over else ""

    def path(self, file: FoundFile) -> Path:
        """Return where a file lies."""
        return self.top / file.name


def reasons(passed_over: Mapping[str, int]) -> str:
    """Return why files were not taken, with their numbers: "2 hidden, 1 links"."""
    return ", ".join(f"{count:,} {what}" for what, count in passed_over.items())


def find_files(
    path: Path, exclude: Sequence[str] = (), but: Path | None = None, *, everything: bool = False
) -> FoundFiles:
    """Return the files of a folder and its sub-folders, or the one file that a path names.

    Not taken are links, which could lead anywhere, what is no regular file, folders of models and indexes, and, where a
    folder is one of BEIR, its queries and judgements; and, unless `everything` is asked for, hidden files and folders,
    what .gitignore files name, and what tools have made or installed (`ignored`).

    exclude: patterns (`*.min.js`, `build/*`) of names below the folder, or of the last part alone, not to take.
    but: a folder that is not taken.

    Errors: `InputError` for a path that is not there, or cannot be read, or is neither file nor folder.
    """
    path = expanded(path)
    with explain_read_errors(path):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; give the documents to index")
        if path.is_file():
            about = path.stat()
            return FoundFiles(path.parent, [FoundFile(path.name, about.st_size, about.st_mtime_ns)])
        if not path.is_dir():
            raise InputError(f"{path}: is no regular file and no folder; give the documents to index")
        found = FoundFiles(path)
        rules = None if everything else IgnoreRules(path)
        _walk(found, rules, exclude, but.resolve() if but is not None else None)
        found.problems += [] if rules is None else rules.problems
    found.files.sort(key=lambda file: file.name)
    return found


def _walk(found: FoundFiles, rules: IgnoreRules | None, exclude: Sequence[str], but: Path | None) -> None:
    """Take the files of the folder and of those in it. rules: of what is ignored; None ignores nothing."""
    folders: list[tuple[str, set[str]]] = [("", set())]  # with the names of what lies beside
    while folders:
        folder, siblings = folders.pop()
        try:
            entries = list(os.scandir(found.top / folder))
        except OSError as error:
            if not folder:
                raise
            found.unread.append(folder)
            found.problems.append(f"{folder}: cannot be read ({error.strerror}); allow reading it, or exclude it")
            continue
        names = {entry.name for entry in entries}
        if folder and (ours := _ours(names)):
            found.passed_over[ours] += 1
            continue
        if rules is not None:
            if folder and is_made(folder.rpartition("/")[2], siblings, names):
                found.passed_over[BY_TOOLS] += 1
                continue
            rules.enter(folder, names)
        corpus = beir_corpus(found.top / folder) if any(n.startswith("corpus.jsonl") for n in names) else None
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if corpus is not None and entry.name != corpus.name:
                found.passed_over["queries and judgements beside a corpus"] += 1
            elif reason := _reason(entry, name, exclude, rules):
                found.passed_over[reason] += 1
            elif entry.is_dir(follow_symlinks=False):
                if but is None or Path(entry.path).resolve() != but:
                    folders.append((name, names))
            else:
                _take(found, entry, name)


def _ours(names: set[str]) -> str:
    """Return what a folder is that nearfar wrote, by the names in it; "" for any other."""
    if "nearfar.json" in names:
        return "folders of models"
    return "folders of indexes" if names >= {INDEX_FILE, GENERATIONS} else ""


def _reason(entry: os.DirEntry[str], name: str, exclude: Sequence[str], rules: IgnoreRules | None) -> str:
    """Return why an entry of a folder is not taken, or nothing."""
    if rules is not None and entry.name.startswith("."):
        return "hidden"
    if any(fnmatchcase(name, pattern) or fnmatchcase(entry.name, pattern) for pattern in exclude):
        return "excluded"
    if entry.is_symlink():
        return "links"
    if not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        return "no regular files"
    if rules is not None and rules.names(name, is_folder=entry.is_dir(follow_symlinks=False)):
        return BY_GIT
    return ""


def _take(found: FoundFiles, entry: os.DirEntry[str], name: str) -> None:
    try:
        about = entry.stat(follow_symlinks=False)
    except OSError as error:  # it has gone since
        found.unread.append(name)
        found.problems.append(f"{name}: cannot be read ({error.strerror})")
        return
    if len(os.fsencode(name)) > _LONGEST:
        found.problems.append(f"{name[:80]}...: its name below the folder has more than {_LONGEST:,} bytes; shorten it")
    elif not is_encodable(name):
        found.problems.append(f"{name}: its name is not UTF-8; rename it")
    elif stat.S_ISREG(about.st_mode):
        found.files.append(FoundFile(name, about.st_size, about.st_mtime_ns))
