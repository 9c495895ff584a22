"""Files to rows with vectors: a pure function of the files, so that a shard of them can be embedded on any machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import is_empty
from nearfar.errors import InputError
from nearfar.index.content_ids import ContentIds
from nearfar.index.documents.document import BadDocumentError
from nearfar.index.documents.find_files import FoundFile, FoundFiles
from nearfar.index.documents.passages import Passage, PassageCutter, passages_of
from nearfar.index.documents.read_file import DOCUMENT_KINDS, FileReader, ReadingSettings
from nearfar.index.rows import Vectors
from nearfar.model import Model
from nearfar.vectors.embed import embed_by_kind

_SMALLEST, _LARGEST = 256, 8192  # passages of a part
_QUICK = 2.0  # seconds; a part that took less is followed by one of twice the size
_MEMORY = 256 << 20  # bytes of the pictures of a part
_NAMED = 5  # problems of a file that are kept
Known = Mapping[str, str]  # the digests of the fields of rows, by id


@dataclass
class FileOutcome:
    """What became of a file.

    kind: of `FileReader.kind`, or "unreadable now". digest: of its content, "" where it changed meanwhile. ids: of its
    passages that have a row, in order. characters_in, characters_out: not white space, of the text that was read and of
    its passages with a row. share: of the file that is read so far. retry: the file is to be read again although it did
    not change.
    """

    file: FoundFile
    kind: str = ""
    digest: str = ""
    ids: list[str] = field(default_factory=list)
    characters_in: int = 0
    characters_out: int = 0
    problems: list[str] = field(default_factory=list)
    further: int = 0
    share: float = 0.0
    retry: bool = False

    def note(self, problem: str) -> None:
        """Keep a problem; of many, the first few and how many there are."""
        if len(self.problems) < _NAMED:
            self.problems.append(problem)
        else:
            self.further += 1

    def lines(self) -> list[str]:
        """Return the problems as lines that begin with the file's name."""
        more = [f"and {self.further:,} more problems"] if self.further else []
        return [f"{self.file.name}: {problem}" for problem in [*self.problems, *more]]


@dataclass(frozen=True)
class EmbeddedRows:
    """A part: rows to write with their vectors (n, d), rows of which only the fields changed, and files that ended.

    The rows of a file that ended lie in this part and in those before it. read: bytes of files that were read so far.
    """

    rows: list[Passage]
    vectors: Vectors
    updated: list[Passage]
    ended: list[FileOutcome]
    read: int

    def owners(self) -> dict[str, str]:
        """Return the file of each row and of each that was updated, by id."""
        return {row.id: str(row.fields["file"]) for row in [*self.rows, *self.updated]}


def shard(files: Sequence[FoundFile], number: int, of: int) -> list[FoundFile]:
    """Return the files of one of several shards, counted from 0; a file is in one, whatever others there are."""
    places = (hashlib.blake2b(file.name.encode(), digest_size=8).digest() for file in files)
    return [file for file, place in zip(files, places) if int.from_bytes(place, "big") % of == number]


def fields_digest(passage: Passage) -> str:
    """Return a digest of a row's fields."""
    content = json.dumps(passage.fields, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def embed_files(
    found: FoundFiles,
    files: Sequence[FoundFile],
    model: Model,
    cutter: PassageCutter,
    settings: ReadingSettings,
    *,
    known: Callable[[str], Known] = lambda _: {},
) -> Generator[EmbeddedRows]:
    """Yield the rows of files, in their order, in parts of some seconds of work.

    known: of a file, by its name, the rows that are stored, which need no vector; whatever is written later than it is
    asked does not matter.
    """
    part, read = _Part(model), 0
    reader = FileReader(settings)
    try:
        for file in files:
            outcome, stored = FileOutcome(file), known(file.name)
            for passage in _passages(found.path(file), outcome, reader, cutter):
                part.take(passage, outcome, stored)
                if part.is_full:
                    yield part.embedded(read + int(outcome.share * file.size))
            read += file.size
            part.ended.append(outcome)
            if part.is_late:
                yield part.embedded(read)
        if part.ended:
            yield part.embedded(read)
    finally:
        reader.close()


def _passages(path: Path, outcome: FileOutcome, reader: FileReader, cutter: PassageCutter) -> Iterator[Passage]:
    """Yield the passages of a file, and note in the outcome what it holds."""
    ids = ContentIds(f"{outcome.file.name}#")
    some = False
    try:
        before = path.stat()
        outcome.kind = reader.kind(path)
        if outcome.kind in DOCUMENT_KINDS:
            for document in reader.documents(path, outcome.kind, outcome.note):
                outcome.characters_in += _characters(document.cell)
                outcome.share = document.share
                for passage in passages_of(document, ids, outcome.file.name, cutter):
                    some = True
                    yield passage
            outcome.kind = reader.kind_read
            if not some:
                outcome.note("holds no text: white space alone")
        outcome.digest = digest_of(path)
        outcome.retry = path.stat() != before and _content_differs(path.stat(), before)
        if outcome.retry:
            outcome.note("was changed while it was read; the next build reads it again")
    except BadDocumentError as error:
        outcome.note(str(error))
        outcome.retry = not error.lasting
        if error.lasting:
            outcome.digest = _digest_or_nothing(path)
    except InputError as error:  # the model's tokenizer cannot read it
        outcome.note(str(error))
        outcome.digest = _digest_or_nothing(path)
    except OSError as error:
        outcome.note(f"cannot be read ({error.strerror})")
        outcome.retry = True
    if outcome.retry and not some:
        outcome.kind = "unreadable now"


def _content_differs(now: Any, before: Any) -> bool:
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def digest_of(path: Path) -> str:
    """Return a hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest_or_nothing(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError:
        return ""


def _characters(cell: Any) -> int:
    """Return how many characters of a text are no white space."""
    return sum(map(len, cell.split())) if isinstance(cell, str) else 0


class _Part:
    """Gathers passages until they are worth a call of the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._new: list[tuple[Passage, FileOutcome]] = []
        self._updated: list[Passage] = []
        self.ended: list[FileOutcome] = []
        self._size, self._bytes, self._began = _SMALLEST, 0, time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether there are so many rows that they should be written."""
        return len(self._new) >= self._size or len(self._updated) >= _LARGEST or self._bytes > _MEMORY

    @property
    def is_late(self) -> bool:
        """Whether files ended that were noted long ago if this had been known."""
        return time.monotonic() - self._began > 10 * _QUICK or len(self.ended) >= _LARGEST

    def take(self, passage: Passage, outcome: FileOutcome, stored: Known) -> None:
        """Take a passage: one to embed, one whose fields changed, or one that is stored as it is."""
        digest = stored.get(passage.id)
        if digest:
            _count(passage, outcome)
            if digest != fields_digest(passage):
                self._updated.append(passage)
        elif is_empty(passage.cell):
            outcome.note(f"{_place(passage)}a passage has no visible character")
        else:
            self._new.append((passage, outcome))
            self._bytes += getattr(passage.cell, "nbytes", 0)

    def embedded(self, read: int) -> EmbeddedRows:
        """Return what was gathered, embedded, and begin anew. read: bytes of files, so far."""
        began = time.monotonic()
        vectors = self._embed([passage.cell for passage, _ in self._new])
        rows = []
        for (passage, outcome), vector in zip(self._new, vectors):
            if vector is None:
                outcome.note(f"{_place(passage)}the model has no vector for a passage ({str(passage.cell)[:40]!r})")
            else:
                _count(passage, outcome)
                rows.append(passage)
        known = [vector for vector in vectors if vector is not None]
        array: Vectors = np.array(known, np.float32) if known else np.empty((0, self._model.dim), np.float32)
        part = EmbeddedRows(rows, array, self._updated, self.ended, read)
        if len(self._new) >= self._size and time.monotonic() - began < _QUICK:
            self._size = min(2 * self._size, _LARGEST)
        self._new, self._updated, self.ended = [], [], []
        self._bytes, self._began = 0, time.monotonic()
        return part

    def _embed(self, cells: list[Any]) -> list[Any]:
        """Return a vector for each cell, each distinct text embedded once; None where the model has none."""
        distinct = dict.fromkeys(cell for cell in cells if isinstance(cell, str))
        of_text = dict(zip(distinct, self._vectors(list(distinct))))
        pictures = iter(self._vectors([cell for cell in cells if not isinstance(cell, str)]))
        return [of_text[cell] if isinstance(cell, str) else next(pictures) for cell in cells]

    def _vectors(self, cells: list[Any]) -> list[Any]:
        if not cells:
            return []
        try:
            return list(embed_by_kind(self._model, cells, "key"))
        except InputError:
            if len(cells) == 1:
                return [None]
        half = len(cells) // 2
        return self._vectors(cells[:half]) + self._vectors(cells[half:])


def _count(passage: Passage, outcome: FileOutcome) -> None:
    outcome.ids.append(passage.id)
    outcome.characters_out += _characters(passage.cell)


def _place(passage: Passage) -> str:
    """Return where a passage stands in its file, for problems."""
    places = [f"{what} {passage.fields[what]}" for what in ("page", "line") if what in passage.fields]
    return f"{', '.join(places)}: " if places else ""
