"""Building an index in a folder: it is made where there is none, and one of another model is filled beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nearfar.errors import InputError
from nearfar.index.documents.build import BuildProgress, BuildReport, BuildSettings, build
from nearfar.index.documents.field_values import OF_DOCUMENTS, checked_kinds
from nearfar.index.documents.find_files import find_files
from nearfar.index.documents.passages import PassageCutter
from nearfar.index.documents.pictures_or_texts import refuse_only
from nearfar.index.folder import IndexFolder
from nearfar.index.generations import refuse_other_backend
from nearfar.index.index import Index
from nearfar.index.upkeep import WORTH_OPTIMISING
from nearfar.model import Model


@dataclass(frozen=True)
class NewIndex:
    """What an index is made with, where there is none: see `Index.create`.

    backend: its backend, precision and settings, as far as they are given; what an index that is there is made with may
    be no other.
    """

    backend: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = "auto"


def build_index(
    folder: Path,
    model: Model,
    path: Path,
    settings: BuildSettings | None = None,
    new: NewIndex | None = None,
    *,
    progress: Callable[[BuildProgress], object] = lambda _: None,
) -> tuple[BuildReport, bool]:
    """Bring the index in a folder to what a file, or a folder of documents, holds now; see `build`.

    new: where there is no index yet. Return the report, and whether the rows wait in a generation beside the one that
    is searched, because that is of another model, until `Index.swap`.

    Errors: those of `build`, `Index.create` and `Index.open`.
    """
    settings, new = settings or BuildSettings(), new or NewIndex()
    if (place := IndexFolder(folder)).is_there():
        refuse_other_backend(place, new.backend)
        index, waits = _opened(place, model)
    else:
        _check(model, path, settings)
        fields = {**OF_DOCUMENTS, **checked_kinds(settings.kinds)}
        index, waits = Index.create(folder, model, fields=fields, language=new.language, **new.backend), False
    with index:
        if settings.thumbnails is not None:
            index.keep_thumbnails(settings.thumbnails)
        report = build(index, model, path, settings, progress=progress)
        _keep_source(place, index, path, settings)
        if report.embedded + report.updated >= WORTH_OPTIMISING:
            index.optimise()
        return report, waits


def _check(model: Model, path: Path, settings: BuildSettings) -> None:
    """Refuse what `build` would, before an index is made."""
    PassageCutter.of(model, settings.tokens)
    refuse_only(model.encoder, settings.only)
    found = find_files(path, settings.exclude, everything=settings.everything)
    if not found.files:
        raise InputError(f"{path}: holds no file to index{found.left_out()}")


def _opened(folder: IndexFolder, model: Model) -> tuple[Index, bool]:
    """Return the generation of a model, made if need be, and whether it is not the one that is searched."""
    contents = folder.contents()
    if contents.searched.fingerprint in (None, model.fingerprint):
        return Index.open(folder.path, model), False
    last = max(contents.generations)
    waits = last != contents.current and contents.generations[last].fingerprint == model.fingerprint
    return Index.beside(folder.path, model, new=not waits), True


def _keep_source(folder: IndexFolder, index: Index, path: Path, settings: BuildSettings) -> None:
    """Keep in `index.json` what the rows come from, if it is new."""
    source = {"path": str(path), "column": settings.column, "tokens": settings.tokens}
    if index.description.built_from != source:
        with folder.lock():
            number, contents = int(index.place.name), folder.contents()
            described = replace(contents.generations[number], built_from=source)
            folder.write(contents.with_one(number, described))
