"""The one way from texts to hard negatives: distinct contents, their vectors, and who may be far from whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Column, Ids, content_id, content_ids, equal_pairs, take
from nearfar.contracts import MiningPairs
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.hard import HardNegatives, Scores, hard_negatives
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import cache_folder, folder_aside, writing
from nearfar.tasks import Retrieval
from nearfar.vectors.embed import Vectors, embed_slices


@dataclass(frozen=True)
class DistinctTexts:
    """The distinct contents of columns: their ids (n,), and the column and row (n,) where each comes first."""

    columns: Sequence[Column]
    ids: Ids
    part: Ids
    row: Ids
    name: str = "contents"

    @classmethod
    def of(cls, *columns: Column) -> tuple[Self, Ids]:
        """Return the contents in order of appearance, and the place of each cell of the first column among them."""
        sizes = [len(column) for column in columns]
        ids = np.concatenate([content_ids(column) for column in columns])
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        order = np.argsort(first)
        order = order[ids[first[order]] != EMPTY]
        place = np.full(len(first), -1, np.int64)
        place[order] = np.arange(len(order))
        first = first[order]
        starts = np.cumsum([0, *sizes])
        part = np.searchsorted(starts, first, side="right") - 1
        return cls(columns, ids[first], part, first - starts[part]), place[inverse[: sizes[0]]]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the contents `start` to `stop`, as a column does."""
        return self.texts(np.arange(start, stop))

    def texts(self, places: Ids) -> list[Any]:
        """Return the contents at some places, in the order asked for."""
        part, row = self.part[places], self.row[places]
        found: list[Any] = [None] * len(places)
        for i, column in enumerate(self.columns):
            mine = np.flatnonzero(part == i)
            for at, cell in zip(mine.tolist(), take(column, row[mine])):
                found[at] = cell
        return found


Embed = Callable[[DistinctTexts, Literal["query", "key"]], npt.NDArray[np.float32]]
EMPTY = content_id("")  # a document without text keeps its place in a corpus, and is nobody's negative


class Rescorer(Protocol):
    """A scorer of pairs, such as a cross-encoder: the i-th query with the i-th text."""

    def __call__(self, queries: list[str], texts: list[str]) -> Scores:
        """Return the scores (e,)."""
        ...


@dataclass(frozen=True)
class MiningResult:
    """A data set's hard negatives.

    queries, keys: the distinct contents, n and m of them. examples: (e,) query and (e,) key of each example, -1 for a
    cell without text. mined: rows and scores, which count in the same way.
    """

    queries: DistinctTexts
    keys: DistinctTexts
    examples: tuple[Ids, Ids]
    mined: HardNegatives

    @cached_property
    def pairs(self) -> tuple[Ids, Ids]:
        """The data's different pairs, in order of appearance; a cell without text asks and answers nothing."""
        query, key = self.examples
        pairs = np.stack([query, key], 1)[(query >= 0) & (key >= 0)]
        first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
        return pairs[first, 0], pairs[first, 1]


def mine_pairs(
    side: MiningPairs,
    embed: Embed,
    controls: Controls | None,
    *,
    corpus: Column | None = None,
    rescore: Rescorer | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> MiningResult:
    """Return the hard negatives of all queries of `side` among its keys and those of a corpus.

    A key that repeats its query word for word is none of its negatives, though no answer either.
    """
    queries, asked = DistinctTexts.of(side.query)
    keys, answers = DistinctTexts.of(side.key, *([] if corpus is None else [corpus]))
    if len(queries) == 0 or len(keys) == 0:
        raise InputError("mining: the data has no texts; give a table with rows")
    same = np.stack([queries.ids, queries.ids], 1)

    def judged(query: Ids, key: Ids) -> Scores:
        assert rescore is not None
        return np.asarray(rescore(queries.texts(query), keys.texts(key)), np.float32)

    mined = hard_negatives(
        embed(queries, "query"),
        embed(keys, "key"),
        _places(side.near, queries, keys),
        controls,
        excluded=_places(np.concatenate([side.neither, same]), queries, keys),
        rescore=None if rescore is None else judged,
        advance=advance,
    )
    return MiningResult(queries, keys, (asked[side.examples[:, 0]], answers[side.examples[:, 1]]), mined)


def _places(contents: Ids, queries: DistinctTexts, keys: DistinctTexts) -> tuple[Ids, Ids]:
    """Return where contents of a query and a key (e, 2) lie, each pair once; those of other data are passed over."""
    contents = np.unique(contents, axis=0)
    pair, query = equal_pairs(contents[:, 0], queries.ids)
    place, key = equal_pairs(contents[pair, 1], keys.ids)
    return query[place], key


def mining_pairs_of(source: Any) -> MiningPairs:
    """Return what to mine in: of positives with one query and one key view, or the judgements of a retrieval task."""
    if isinstance(source, Retrieval):
        judged = [(q, d) for q, found in source.relevance.items() for d, grade in found.items() if grade > 0]
        rows = np.array(judged, np.int64).reshape(-1, 2)
        near = np.stack([content_ids(source.queries)[rows[:, 0]], content_ids(source.documents)[rows[:, 1]]], 1)
        return MiningPairs(source.queries, source.documents, rows, near, near[:0])
    found: Sequence[MiningPairs] = source.sides() if hasattr(source, "sides") else []
    if len(found) > 1:
        raise InputError(f"mining goes through one data set at a time, these are {len(found)}; mine each by itself")
    if not found:
        raise InputError(
            f"mining needs pairs of a query and a key, as positives.columns has; not {type(source).__name__}"
        )
    return found[0]


def embed_fresh(model: Any, contents: DistinctTexts, role: Literal["query", "key"]) -> Vectors:
    """Return the vectors (n, d) of contents in one role; the disk keeps none of them."""
    vectors, done = np.empty((len(contents), 0), np.float32), 0
    for part in _slices(model, contents, role):
        if not done:
            vectors = np.empty((len(contents), part.shape[1]), np.float32)
        vectors[done : done + len(part)] = part
        done += len(part)
    return vectors


def embed_cached(model: Any, contents: DistinctTexts, role: Literal["query", "key"]) -> Vectors:
    """Return the vectors (n, d) of contents in one role, memory-mapped.

    They are kept under the fingerprints of the model (its weights, tokenizer, prompts) and of the contents, so a model
    that was trained further never gets those of an older one. A model without a fingerprint is asked each time.
    """
    if not hasattr(model, "fingerprint"):
        return embed_fresh(model, contents, role)
    folder = cache_folder("vectors") / fingerprint("vectors 2", model.fingerprint, role, _is_bf16(model), contents.ids)
    shape = (len(contents), int(model.dim))
    with suppress(OSError, ValueError):
        return _read(folder, shape)
    with folder_aside(folder, again=folder.exists()) as aside:  # there, it is cut off
        path = aside / "vectors"
        with writing(path), path.open("wb") as file:
            for part in _slices(model, contents, role):
                file.write(np.ascontiguousarray(part, "<f4").data)
    return _read(folder, shape)


def _is_bf16(model: Any) -> bool:
    """Say whether vectors are computed in bf16: they differ in the third digit."""
    return bool(getattr(model, "bf16", False)) or torch.is_autocast_enabled("cpu")


def _read(folder: Path, shape: tuple[int, int]) -> Vectors:
    path = folder / "vectors"
    if path.stat().st_size != shape[0] * shape[1] * 4:
        raise OSError("cut off")
    os.utime(path)  # the last use, for whoever clears the cache by age
    # "c": writeable as torch wants its arrays, though nothing is ever written back
    return np.memmap(path, "<f4", "c", shape=shape)


def _slices(model: Any, contents: DistinctTexts, role: Literal["query", "key"]) -> Iterator[Vectors]:
    for _, full, vectors in embed_slices(partial(model.embed, role=role), contents):
        assert full.all()
        yield np.asarray(vectors, np.float32)
