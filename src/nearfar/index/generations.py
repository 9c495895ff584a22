"""Generations: an index of another model is filled beside the one that is searched, and takes its place at once."""

from __future__ import annotations

from nearfar.errors import InputError
from nearfar.index.embedding import Embedding
from nearfar.index.folder import Contents, Generation, IndexFolder
from nearfar.index.store import RowStore, discard
from nearfar.text.stems import stemmer_of


def create(folder: IndexFolder, embedding: Embedding, generation: Generation, language: str | None) -> None:
    """Make an index of one empty generation. Errors: `InputError` where there is one, and for an unknown language."""
    if language != "auto":
        stemmer_of(language)  # raises
    with folder.lock():
        if folder.is_there():
            raise InputError(f"{folder.path}: an index is there already; open it, or choose another place")
        discard(folder.place(1), generation)  # of one whose making was broken off
        described = embedding.described(generation)
        RowStore.create(folder.place(1), described, language).close()
        folder.write(Contents(1, {1: described}))


def begin(folder: IndexFolder, embedding: Embedding, *, language: str | None, dim: int | None) -> int:
    """Make an empty generation beside the current one, of its backend and fields; return its number.

    One that was begun before and never took its place is dropped.
    """
    with folder.lock():
        contents = folder.contents()
        now = contents.generations[contents.current]
        generation = embedding.described(Generation(now.backend, embedding.dim(dim), fields=now.fields))
        kept = {number: each for number, each in contents.generations.items() if number <= contents.current}
        _leave(folder, contents, Contents(contents.current, kept))
        number = contents.current + 1
        discard(folder.place(number), generation)  # of one whose making was broken off
        RowStore.create(folder.place(number), generation, language).close()
        folder.write(folder.contents().with_one(number, generation))
        return number


def waiting(folder: IndexFolder) -> int:
    """Return the number of the generation beside the current one. Errors: `InputError` where there is none."""
    contents = folder.contents()
    number = max(contents.generations)
    if number == contents.current:
        raise InputError(
            f"{folder.path}: no other generation is there; fill one: nearfar index build with another model"
        )
    return number


def swap(folder: IndexFolder, *, drop_old: bool) -> Contents:
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
            swapped = _leave(folder, swapped, Contents(number, {number: swapped.generations[number]}))
    return swapped


def _rows(folder: IndexFolder, number: int) -> int:
    store = RowStore(folder.place(number), folder.contents().generations[number])
    try:
        return store.backend.count()
    finally:
        store.close()


def _leave(folder: IndexFolder, before: Contents, after: Contents) -> Contents:
    """Drop what is not in the contents after: first from `index.json`, then its rows and files."""
    gone = set(before.generations) - set(after.generations)
    if gone:
        folder.write(after)
        for number in gone:
            discard(folder.place(number), before.generations[number])
    return after
