"""What a file holds: its documents, by the kind of file that its name and its first bytes say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar.data.archives.open_archive import is_archive_name, open_archive
from nearfar.data.picture_sets.members import WANTED
from nearfar.data.tables.cells import LONGEST_CELL
from nearfar.data.tables.encodings import is_binary
from nearfar.data.tables.files import FORMATS, explain_read_errors, format_suffix, open_bytes
from nearfar.data.tables.text_files import read_document
from nearfar.errors import InputError
from nearfar.index.documents.confined import ConfinedReader
from nearfar.index.documents.document import BadDocumentError, FileDocument, storable
from nearfar.index.documents.field_values import FieldKinds
from nearfar.index.documents.html_text import SUFFIXES as HTML
from nearfar.index.documents.table_rows import NoTextColumnError, table_documents
from nearfar.index.rows import Kind
from nearfar.pictures.decode import MOST_BYTES, BadPictureError, decoded, is_picture_name, too_many_bytes

PICTURE_KINDS = ("picture", "archive of pictures")
DOCUMENT_KINDS = ("text", "html", "pdf", "table", *PICTURE_KINDS)
_HEAD = 8192  # bytes by which a binary file is known
_LARGEST_PDF = 512 << 20  # bytes
_SIDE = 256  # pixels of the shorter side of a decoded picture


@dataclass(frozen=True)
class ReadingSettings:
    """How files are read. column: of tables, their texts. kinds: of fields, by name. reads: the kinds of cells that the
    model reads, as `abilities.reads` gives them. side: of pictures, pixels of the shorter side, at most.
    beside: whether the model reads the others, too, and they are left out all the same.
    """

    column: str | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    reads: tuple[str, ...] = ("text",)
    side: int = _SIDE
    beside: bool = False


class FileReader:
    """Reads files; `close` ends the process that reads those of strangers' formats.

    kind_read: of the file that was read last: "text" where what has the name of a table was read as a text.
    """

    def __init__(self, settings: ReadingSettings, confined: ConfinedReader | None = None) -> None:
        self._settings, self._confined = settings, confined or ConfinedReader()
        self._kinds = FieldKinds(settings.kinds)
        self.kind_read = ""

    def kind(self, path: Path) -> str:
        """Return the kind of a file.

        Those of `DOCUMENT_KINDS` hold documents; "empty", "binary", "pictures, which the model does not read" and
        "texts, ..." do not, nor do "texts beside pictures" and "pictures beside texts".

        Errors: `BadDocumentError` for a file that cannot be read now.
        """
        try:
            with explain_read_errors(path):
                if path.stat().st_size == 0:
                    return "empty"
                kind = _by_name(path)
                if kind == "text":
                    with open_bytes(path) as stream:
                        kind = "binary" if is_binary(stream.read(_HEAD)) else "text"
        except InputError as error:
            raise _bad(path, error) from error
        reads = self._settings.reads or ("text",)
        if kind == "binary" and "image" in reads and is_archive_name(path):
            return "archive of pictures"
        cell = "image" if kind == "picture" else "text"
        if kind != "binary" and cell not in reads:
            what, other = ("pictures", "texts") if cell == "image" else ("texts", "pictures")
            return f"{what} beside {other}" if self._settings.beside else f"{what}, which the model does not read"
        return kind

    def documents(self, path: Path, kind: str, note: Callable[[str], None]) -> Iterator[FileDocument]:
        """Yield the documents of a file of a kind that holds some. note: is told what is wrong with a part of it.

        Errors: `BadDocumentError`.
        """
        self.kind_read = kind
        try:
            with path.open("rb"):  # where that is not allowed, another day it may be
                pass
            if kind == "pdf":
                yield from self._pdf(path, note)
            elif kind == "html":
                yield from self._confined.read("html", _content(path), note)
            elif kind == "picture":
                yield _picture(path, self._settings.side)
            elif kind == "archive of pictures":
                yield from _members(path, self._settings.side, note)
            elif kind == "table":
                yield from self._rows(path, note)
            else:
                yield _text(path)
        except InputError as error:
            raise _bad(path, error) from error
        except OSError as error:
            raise BadDocumentError(f"cannot be read ({error.strerror})", lasting=False) from error

    def close(self) -> None:
        """End what was started."""
        self._confined.close()

    def _pdf(self, path: Path, note: Callable[[str], None]) -> Iterator[FileDocument]:
        if path.stat().st_size > _LARGEST_PDF:
            raise BadDocumentError(f"holds more than {_LARGEST_PDF >> 20} MB, the most of a PDF; split it up")
        yield from self._confined.read("pdf", os.fsencode(path.absolute()), note)

    def _rows(self, path: Path, note: Callable[[str], None]) -> Iterator[FileDocument]:
        """Yield the rows of a table; a file of text that is no table with a column of texts is one text.

        That are the JSON files of a project that hold settings, CSV files of numbers and the like.
        """
        is_json = format_suffix(path) == ".json"
        try:
            yield from table_documents(path, self._settings.column, self._kinds, note)
        except BadDocumentError as error:
            other = is_json or isinstance(error, NoTextColumnError)
            if not other or FORMATS[format_suffix(path)] == "parquet":
                raise
            if not is_json:
                note(f"read as plain text: {error}")
            self.kind_read = "text"
            yield _text(path)


def _bad(path: Path, error: InputError) -> BadDocumentError:
    """Return an error that names a file as one of a file that is named already; of the system's it may be over soon."""
    cause = error.__cause__
    system = isinstance(cause, OSError) and cause.errno is not None
    return BadDocumentError(str(error).removeprefix(f"{path}: "), lasting=not system)


def _by_name(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in HTML or suffix == ".pdf":
        return "pdf" if suffix == ".pdf" else "html"
    if is_picture_name(path.name):
        return "picture"
    return "table" if format_suffix(path) in FORMATS else "text"


def _text(path: Path) -> FileDocument:
    """Return a text file: UTF-8, compressed or not, at most 10 MB."""
    text = storable(read_document(path))
    starts, position = [0], text.find("\n")
    while position >= 0:
        starts.append(position + 1)
        position = text.find("\n", position + 1)
    return FileDocument(text, starts, range(1, len(starts) + 1))


def _content(path: Path) -> bytes:
    with explain_read_errors(path), open_bytes(path) as stream:
        data = stream.read(LONGEST_CELL + 1)
    if len(data) > LONGEST_CELL:
        raise BadDocumentError(f"holds more than {LONGEST_CELL // 10**6} MB, the most of a document; split it up")
    return data


def _picture(path: Path, side: int) -> FileDocument:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise too_many_bytes(size)
        picture: Any = decoded(path.read_bytes(), side)
    except BadPictureError as error:
        raise BadDocumentError(str(error)) from error
    return FileDocument(picture)


def _members(path: Path, side: int, note: Callable[[str], None]) -> Iterator[FileDocument]:
    """Yield the pictures of an archive, with their names in it as the field `member`."""
    for member in open_archive(path, WANTED).members():
        name = storable(member.name)
        try:
            if member.problem:
                raise BadPictureError(member.problem)
            yield FileDocument(decoded(member.data, side), fields={"member": name}, share=0.0)
        except BadPictureError as error:
            note(f"{name}: {error}")
