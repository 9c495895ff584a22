"""Readers of plain text: a file of a row a line, and a folder of files that are a document each."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.column import is_empty
from nearfar.data.tables.cells import LONGEST_CELL
from nearfar.data.tables.encodings import check_utf8
from nearfar.data.tables.files import (
    CHANGED,
    DOCUMENTS,
    FORMATS,
    LINES,
    SPLIT_WORDS,
    NotTextError,
    explain_read_errors,
    first_line,
    format_suffix,
    line_blocks,
    open_bytes,
    text_lines,
)
from nearfar.errors import InputError
from nearfar.storage.places import refuse_undecodable

MOST_DOCUMENTS = 1_000_000  # files of a folder
_BATCH = 64 << 20  # bytes of documents in one table
_SPLIT_STEM = re.compile(rf"({'|'.join(SPLIT_WORDS)})([-_.]?\d+(-of-\d+)?)?", re.IGNORECASE)


class TextLines:
    """Reads a text file: a column "text", a row a line.

    Lines end at a line feed and nowhere else, so row i is line i; a carriage return before it belongs to the line end.
    A line feed at the end of the file ends the last line. Blank lines are rows with an empty text.
    """

    cache_key = "lines"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of one text column."""
        for block in line_blocks(self.path):
            lines = block.replace(b"\r\n", b"\n").split(b"\n")
            if block.endswith(b"\n"):
                lines.pop()
            yield pa.table({"text": pa.array(lines, pa.binary()).cast(pa.string())})

    def diagnose(self, error: Exception) -> InputError:
        """Return which line is not UTF-8."""
        try:
            for _ in text_lines(self.path):
                pass
        except NotTextError as problem:
            return InputError(f"{self.path}: line {problem.line} {problem}")
        return InputError(f"{self.path}: cannot be read as lines of text ({first_line(error)})")

    def lines(self) -> Iterator[int]:
        """Yield the line of each row."""
        return count(1)


class TextFolder:
    """Reads a folder of text files: columns "_id" (the path in the folder) and "text", a row a file.

    Files without text are left out, and counted in `empty`.

    Errors: InputError for a file that is not UTF-8, holds a zero byte or more than 10 MB.
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        self.files: list[Path] = []
        self._digests: list[bytes] = []  # of each file of these
        for file in files:
            text = read_document(file)
            if not is_empty(text):
                self.files.append(file)
                self._digests.append(self._digest(file, text))
        self.empty = len(files) - len(self.files)
        self.cache_key = f"documents {hashlib.blake2b(b''.join(self._digests), digest_size=16).hexdigest()}"

    def _name(self, file: Path) -> str:
        name = file.relative_to(self.path)
        refuse_undecodable(name)  # it is the document's id
        return name.as_posix()

    def _digest(self, file: Path, text: str) -> bytes:
        parts = (hashlib.blake2b(part.encode(), digest_size=16).digest() for part in (self._name(file), text))
        return b"".join(parts)

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of about 64 MB of text. Errors: InputError for a file that has changed since it was found."""
        names: list[str] = []
        texts: list[str] = []
        size = 0
        for file, digest in zip(self.files, self._digests, strict=True):
            text = read_document(file)
            if self._digest(file, text) != digest:
                raise InputError(f"{file}: {CHANGED}")
            names.append(self._name(file))
            texts.append(text)
            size += len(text)
            if size >= _BATCH:
                yield _table(names, texts)
                names, texts, size = [], [], 0
        if names:
            yield _table(names, texts)

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong; each file was read before, so one has changed."""
        return InputError(f"{self.path}: a file in it cannot be read ({first_line(error)}); try again")

    def lines(self) -> Iterator[int]:
        """Yield nothing: a row is a file."""
        return iter(())


def _table(names: list[str], texts: list[str]) -> Any:
    return pa.table({"_id": pa.array(names, pa.string()), "text": pa.array(texts, pa.string())})


def read_document(file: Path) -> str:
    """Return the text of a file, decompressed, with a line feed at each line end.

    Errors: InputError for one that is too long or no text.
    """
    with explain_read_errors(file), open_bytes(file) as stream:
        data = stream.read(LONGEST_CELL + 1)
    if len(data) > LONGEST_CELL:
        raise InputError(
            f"{file}: holds more than {LONGEST_CELL // 10**6} MB, the most of a document; split it up, or move it away"
        )
    check_utf8(file, data, "move it away, or save it as UTF-8")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line} {NotTextError(line, error, file)}") from error


def documents(folder: Path) -> list[Path]:
    """Return the text files of a folder and its sub-folders, in order of their paths; hidden ones are left out.

    Other files beside them are not read, which a warning says. Errors: InputError for tables in a sub-folder beside
    them, and for over a million files.
    """
    found: list[Path] = []
    tables: list[Path] = []
    others: Counter[str] = Counter()
    with explain_read_errors(folder):
        for file in folder.rglob("*"):
            if any(part.startswith(".") for part in file.relative_to(folder).parts) or not file.is_file():
                continue
            if format_suffix(file) in DOCUMENTS:
                found.append(file)
            elif format_suffix(file) in FORMATS:
                tables.append(file)
            else:
                others[file.suffix.lower() or file.name] += 1
            if len(found) > MOST_DOCUMENTS:
                raise InputError(
                    f"{folder}: holds more than {MOST_DOCUMENTS:,} text files, the most that are read; "
                    "write them into one table, a row a file"
                )
    if found and tables:
        raise InputError(
            f"{folder}: the folder holds no table, but {len(found):,} text files and tables in sub-folders, such as "
            f"{min(tables)}; give the folder of the one or of the other"
        )
    if found and others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(3))
        said = f"read are its {len(found):,} files {', '.join(DOCUMENTS)}, not the {others.total():,} others ({kinds})"
        warnings.warn(f"{folder}: {said}", stacklevel=2)
    return sorted(found)


def split_files(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Return by split the .txt files of a folder whose names are those of splits: train.txt, dev.txt, test-2.txt.

    Empty where any other .txt file is there, or none: then each file is a document.
    """
    lines = [file for file in files if format_suffix(file) == LINES]
    stems = [_SPLIT_STEM.fullmatch(file.name[: file.name.lower().index(LINES)]) for file in lines]
    if any(stem is None or file.parent != folder for stem, file in zip(stems, lines, strict=True)):
        return {}
    splits: dict[str, list[Path]] = {}
    for stem, file in zip(stems, lines, strict=True):
        assert stem is not None
        splits.setdefault(SPLIT_WORDS[stem[1].lower()], []).append(file)
    return splits
