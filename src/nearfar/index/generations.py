"""Generations: an index of another model is filled beside the one that is searched, and takes its place at once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from nearfar.errors import InputError, NearfarError, listed
from nearfar.index.embedding import Embedding
from nearfar.index.folder import Contents, Generation, IndexFolder
from nearfar.index.store import RowStore, discard
from nearfar.text.stems import stemmer_of


def create(folder: IndexFolder, embedding: Embedding, generation: Generation, language: str | None) -> None:
    """Make an index of one empty generation; after an error nothing of it is left.

    Errors: `InputError` where there is one, for an unknown language, and for a first_dim that its model was not trained
    for.
    """
    if language != "auto":
        stemmer_of(language)  # raises
    refuse_first_dim(generation.backend, embedding.first_dims())
    described = embedding.described(generation)
    with folder.making():
        if folder.is_there():
            raise InputError(f"{folder.path}: an index is there already; open it, or choose another place")
        _make(folder, Contents(1, {}), 1, described, language)


def begin(folder: IndexFolder, embedding: Embedding, *, language: str | None, dim: int | None) -> int:
    """Make an empty generation beside the current one, of its backend and fields; return its number.

    One that was begun before and never took its place is dropped.
    """
    with folder.lock():
        contents = folder.contents()
        now = contents.searched
        size = embedding.dim(dim)
        backend = _fitting(now.backend, embedding.first_dims(), size)
        empty = Generation(backend, size, fields=now.fields, keeps_thumbnails=now.keeps_thumbnails)
        generation = embedding.described(empty)
        kept = {number: each for number, each in contents.generations.items() if number <= contents.current}
        _leave(folder, contents, Contents(contents.current, kept))
        number = contents.current + 1
        _make(folder, folder.contents(), number, generation, language)
        return number


def refuse_first_dim(backend: Mapping[str, Any], trained: Sequence[int] | None) -> None:
    """Refuse a search by first coordinates that a model was not trained for. trained: as of `Embedding.first_dims`."""
    first = backend.get("first_dim")
    if first is None or trained is None or first in trained:
        return
    if not trained:
        raise InputError(
            f"first_dim {first!r:.40}: the model was not trained for shorter vectors, which would miss many of the "
            "nearest rows; leave it out, or train with the loss matryoshka"
        )
    raise InputError(
        f"first_dim {first!r:.40}: the model was trained for vectors of {listed([str(n) for n in trained])} "
        "coordinates; take one of these"
    )


def refuse_other_backend(folder: IndexFolder, given: Mapping[str, Any]) -> None:
    """Refuse what is given of a backend (arguments of `Index.create`) and is not so in an index that is there.

    Values of settings are not shown, as they may be secret.
    """
    now = folder.contents().searched.backend
    wanted = {"name": given.get("backend"), "precision": given.get("precision"), **(given.get("settings") or {})}
    for name, value in wanted.items():
        if value is not None and value != now.get(name):
            what = f"of {now.get(name)}" if name in ("name", "precision") else "with another value of it"
            option = {"name": "--backend", "precision": "--precision"}.get(name, f"backend.{name}")
            raise InputError(f"{folder.path}: was made {what}; leave {option} out, or choose another place")


def _fitting(backend: Mapping[str, Any], trained: Sequence[int] | None, dim: int) -> Mapping[str, Any]:
    """Return a backend's settings for vectors of another model: without first_dim where that says nothing of them."""
    first = backend.get("first_dim")
    if first is None or (first < dim and (trained is None or first in trained)):
        return backend
    warnings.warn(f"first_dim {first} does not suit the new model; all coordinates are compared", stacklevel=4)
    return {name: value for name, value in backend.items() if name not in ("first_dim", "oversample")}


def _make(folder: IndexFolder, before: Contents, number: int, generation: Generation, language: str | None) -> None:
    """Make an empty generation, and write it into `index.json`; after an error it is not there, nor its rows."""
    place = folder.place(number)
    discard(place, generation)  # of one whose making was broken off
    try:
        RowStore.create(place, generation, language).close()
        folder.write(before.with_one(number, generation))
    except BaseException:
        with suppress(NearfarError):  # such as those of a server, of which the first is told
            discard(place, generation)
        raise


def waiting(folder: IndexFolder) -> int:
    """Return the number of the generation beside the current one. Errors: `InputError` where there is none."""
    contents = folder.contents()
    number = max(contents.generations)
    if number == contents.current:
        raise InputError(
            f"{folder.path}: no other generation is there; fill one: nearfar index build with another model"
        )
    return number


def swap(folder: IndexFolder, *, drop_old: bool) -> None:
    """Let the generation that was filled beside take the current one's place: readers see it at their next search.

    The old one stays until another is begun, unless it is dropped.

    Errors: `InputError` where there is none, or it has no rows.
    """
    with folder.lock():
        number, contents = waiting(folder), folder.contents()
        if not _rows(folder, number) and _rows(folder, contents.current):
            raise InputError(f"{folder.path}: generation {number} has no rows yet; fill it first")
        swapped = Contents(number, contents.generations)
        folder.write(swapped)
        if drop_old:
            _leave(folder, swapped, Contents(number, {number: swapped.searched}))


def _rows(folder: IndexFolder, number: int) -> int:
    store = RowStore(folder.place(number), folder.contents().generations[number])
    try:
        return store.backend.count()
    finally:
        store.close()


def _leave(folder: IndexFolder, before: Contents, after: Contents) -> None:
    """Drop what is not in the contents after: first from `index.json`, then its rows and files."""
    gone = set(before.generations) - set(after.generations)
    if gone:
        folder.write(after)
        for number in gone:
            discard(folder.place(number), before.generations[number])
