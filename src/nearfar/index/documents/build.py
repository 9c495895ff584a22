"""Building an index from documents: only what changed is read and embedded, and what vanished is removed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar.errors import InputError
from nearfar.index.documents.document_store import DocumentStore
from nearfar.index.documents.embed_files import EmbeddedRows, FileOutcome, digest_of, embed_files, fields_digest
from nearfar.index.documents.field_values import checked_kinds
from nearfar.index.documents.find_files import FoundFile, FoundFiles, find_files, reasons
from nearfar.index.documents.manifest import Manifest
from nearfar.index.documents.passages import TOKENS, Passage, PassageCutter
from nearfar.index.documents.pictures_or_texts import Only, cells_of_rows, reading_settings, refuse_only
from nearfar.index.documents.read_file import DOCUMENT_KINDS, PICTURE_KINDS
from nearfar.index.rows import Kinds, Vectors
from nearfar.model import Model
from nearfar.storage.locks import alone
from nearfar.storage.places import expanded
from nearfar.vectors.embed import embed_by_kind

MANIFEST = "documents.db"
_REMOVED = 1000  # rows that are removed in one call
_LACKS = "lacks its thumbnail"  # in place of a digest of fields, so that the row is written again with its vector


@dataclass(frozen=True)
class BuildSettings:
    """How documents become rows.

    column: of tables, their texts; by default one of a usual name. kinds: of fields, by name ("integer", "number",
    "boolean", "text"), where the first value should not decide. tokens: of a passage, at most. exclude: patterns of
    names that are not read. everything: read hidden files, too, and what .gitignore and tools leave out. again: read
    every file again, and write rows that someone has deleted. moved: the documents lie in another place than they did.
    only: of a model with a side for pictures and one for texts, which of the two become rows (`pictures_or_texts`).
    thumbnails: whether the index keeps small pictures; None leaves that as it is. Read by `build_index`.
    """

    column: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    tokens: int = TOKENS
    exclude: Sequence[str] = ()
    everything: bool = False
    again: bool = False
    moved: bool = False
    only: Only | None = None
    thumbnails: bool | None = None


@dataclass
class BuildReport:
    """What a build did, and what the index holds afterwards.

    read, unchanged, removed: files. embedded, updated, deleted: passages that got a new vector, other fields or the
    thumbnail that they lacked, or were removed. files: documents in the index by kind. passed_over: what holds no
    documents, by reason. characters_in, characters_out: not white space, in all files, and in all passages with a row.
    problems: lines, by file.
    """

    path: Path
    read: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = 0
    updated: int = 0
    deleted: int = 0
    seconds: float = 0.0
    passages: int = 0
    characters_in: int = 0
    characters_out: int = 0
    files: dict[str, int] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def reasons(self) -> str:
        """Return why files hold no documents, with their numbers."""
        return reasons(self.passed_over)

    def facts(self) -> dict[str, Any]:
        """Return the report as plain values, in the order in which it is told."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is: bytes of changed files that are read, of all of them, and passages embedded."""

    done: int
    total: int
    passages: int


def build(
    index: DocumentStore,
    model: Model,
    path: str | Path,
    settings: BuildSettings | None = None,
    *,
    progress: Callable[[BuildProgress], object] = lambda _: None,
) -> BuildReport:
    """Bring an index to what a file, or a folder of documents, holds now.

    Whenever the process ends, the next call goes on, and no row is lost or double. progress: is called after each part
    that is written.

    Errors: `InputError`: nothing there to read, documents of another place than before, settings, another build at
    work; and what the index and the model refuse.
    """
    began, settings, source = time.monotonic(), settings or BuildSettings(), expanded(path)
    cutter = PassageCutter.of(model, settings.tokens)
    declared = _declared(index, settings)
    refuse_only(model.encoder, settings.only)
    with alone(index.folder, index.folder / ".build.lock"), Manifest.open(index.place / MANIFEST) as manifest:
        found = find_files(source, settings.exclude, but=index.folder, everything=settings.everything)
        _check_source(manifest, source, found, settings)
        cells = cells_of_rows(model.encoder, settings.only, found, manifest.settings().get("reads"))
        reading = reading_settings(model.encoder, settings.column, declared, cells)
        made_with = {"tokens": cutter.size, "column": settings.column, "kinds": dict(settings.kinds)}
        manifest.keep_settings({**made_with, "fingerprint": model.fingerprint, "reads": list(reading.reads)})
        report = BuildReport(source)
        writer = _Writer(index, model, manifest, report, again=settings.again)
        manifest.forget_files(None if settings.again else writer.files_lacking_thumbnails())
        writer.remove_files(
            sorted(name for name in manifest.names() - {f.name for f in found.files} if not found.is_unread(name))
        )
        changed = _changed(found, manifest)
        report.unchanged = len(found.files) - len(changed)
        total = sum(file.size for file in changed)
        with closing(embed_files(found, changed, model, cutter, reading, known=writer.known)) as parts:
            for part in parts:
                writer.write(part)
                progress(BuildProgress(part.read, total, report.embedded))
        _conclude(report, found, manifest, writer.problems)
    report.seconds = time.monotonic() - began
    return report


def _declared(index: DocumentStore, settings: BuildSettings) -> Kinds:
    """Return the kinds of fields that are known before any file is read."""
    declared, fields = checked_kinds(settings.kinds), index.fields
    for name, kind in declared.items():
        if (known := fields.get(name, kind)) != kind:
            raise InputError(f"field {name!r}: is {known} in {index.folder}, not {kind}; build another index for that")
    return {**fields, **declared}


def _check_source(manifest: Manifest, source: Path, found: FoundFiles, settings: BuildSettings) -> None:
    """Refuse documents of another place, and a place with nothing in it, which would empty the index."""
    names, place = manifest.names(), str(source.resolve())
    if not found.files:
        after = "; if the documents are gone, delete the index" if names else ""
        raise InputError(f"{source}: holds no file to index{found.left_out()}{after}")
    before = str(manifest.settings().get("source", place))
    if before != place and names and not settings.moved:
        raise InputError(
            f"{source}: the index was built from {before}; give that path, another index for other documents, or "
            "--moved where these are the same documents in another place"
        )
    manifest.keep_source(place)


def _changed(found: FoundFiles, manifest: Manifest) -> list[FoundFile]:
    """Return the files that are not as they were; a file of the same content with another time is as it was."""
    stored = manifest.files()
    changed: list[FoundFile] = []
    same: list[FoundFile] = []
    for file in found.files:
        known = stored.get(file.name)
        if known is None or known.size != file.size:
            changed.append(file)
        elif not known.changed or known.changed != file.changed:
            (same if known.digest and known.digest == _digest(found.path(file)) else changed).append(file)
    manifest.same(same)
    return changed


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError:  # reading it as a document says what is wrong
        return ""


def _conclude(report: BuildReport, found: FoundFiles, manifest: Manifest, problems: list[str]) -> None:
    totals = manifest.totals()
    report.passages, report.characters_in, report.characters_out = (
        totals.passages,
        totals.characters_in,
        totals.characters_out,
    )
    report.files = {kind: count for kind, count in sorted(totals.kinds.items()) if kind in DOCUMENT_KINDS}
    others = Counter({kind: count for kind, count in totals.kinds.items() if kind not in DOCUMENT_KINDS})
    report.passed_over = dict(sorted((found.passed_over + others).items()))
    report.problems = [*found.problems, *totals.problems, *problems]


class _Writer:
    """Writes parts into the index and the manifest, in the order that keeps both true."""

    def __init__(
        self, index: DocumentStore, model: Model, manifest: Manifest, report: BuildReport, *, again: bool
    ) -> None:
        self._index, self._model, self._manifest, self._report = index, model, manifest, report
        self._again, self._keeps_thumbnails = again, index.keeps_thumbnails
        self.problems: list[str] = []  # of files that are read again next time

    def write(self, part: EmbeddedRows) -> None:
        """Write a part, then note the files that ended, after removing the rows that they have no more."""
        owners = part.owners()
        self._manifest.intend(owners)
        if part.rows:
            self._index.add(list(map(self._row, part.rows)), vectors=part.vectors)
        if part.updated:
            self._index.add(list(map(self._row, part.updated)), vectors=self._stored_vectors(part.updated))
        self._manifest.written((owners[p.id], p.id, fields_digest(p)) for p in [*part.rows, *part.updated])
        self._report.embedded += len(part.rows)
        self._report.updated += len(part.updated)
        ended: list[FileOutcome] = []
        for outcome in part.ended:
            self._report.read += 1
            if outcome.retry:
                self.problems += outcome.lines()
                continue
            former = self._manifest.rows_of(outcome.file.name).keys() - set(outcome.ids)
            self._remove(outcome.file.name, sorted(former))
            ended.append(outcome)
        self._manifest.done(ended)

    def known(self, name: str) -> dict[str, str]:
        """Return the rows of a file that need no vector, with the digests of their fields.

        Where every file is read again, these are the rows that the index has: someone may have deleted others.
        """
        known = self._manifest.rows_of(name)
        if self._again:
            known = {identity: known[identity] for identity in self._there(list(known))}
        if self._keeps_thumbnails and self._manifest.kind_of(name) in PICTURE_KINDS:
            known |= dict.fromkeys(self._lacking(list(known)), _LACKS)
        return known

    def files_lacking_thumbnails(self) -> list[str]:
        """Return the files with pictures that the index has without the thumbnails that it should have."""
        found = set[str]()
        if self._keeps_thumbnails:
            for rows in self._manifest.rows_of_kinds(PICTURE_KINDS, _REMOVED):
                lacking = set(self._lacking([identity for _, identity in rows]))
                found |= {name for name, identity in rows if identity in lacking}
        return sorted(found)

    def _there(self, ids: Sequence[str]) -> list[str]:
        return [row.id for row in self._index.get(ids) if row is not None] if ids else []

    def _lacking(self, ids: Sequence[str]) -> list[str]:
        pictured = self._index.with_thumbnail(ids) if ids else set()
        return self._there([identity for identity in ids if identity not in pictured])

    def _row(self, passage: Passage) -> dict[str, Any]:
        if passage.text is not None:
            return {"id": passage.id, "text": passage.text, **passage.fields}
        picture = {"image": passage.cell} if self._keeps_thumbnails else {}
        return {"id": passage.id, **picture, **passage.fields}

    def _stored_vectors(self, passages: Sequence[Passage]) -> Vectors:
        try:
            return self._index.vectors([passage.id for passage in passages])
        except InputError:  # someone has deleted a row
            return embed_by_kind(self._model, [passage.cell for passage in passages], "key")

    def remove_files(self, names: Sequence[str]) -> None:
        """Remove the rows of files that are gone."""
        for name in names:
            self._remove(name, list(self._manifest.rows_of(name)))
        self._manifest.forget(names)
        self._report.removed += len(names)

    def _remove(self, name: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _REMOVED):
            some = ids[start : start + _REMOVED]
            self._index.delete(some)
            self._manifest.removed(name, some)
        self._report.deleted += len(ids)
