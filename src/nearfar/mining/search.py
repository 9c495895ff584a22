"""The pipeline from texts to hard negatives: distinct texts, their vectors, and a search without known pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch

from nearfar.abilities import InBf16, Minable, fingerprint_of
from nearfar.column import Column, Ids, content_id, content_ids, equal_pairs, take
from nearfar.contracts import MiningPairs
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.hard import HardNegatives, PairRows, Scores, hard_negatives
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import cache_folder, explain_write_errors, write_folder_atomically
from nearfar.tasks import Retrieval
from nearfar.vectors.embed import Vectors, embed_slices

Role = Literal["query", "key"]
Embed = Callable[["DistinctTexts", Role], Vectors]  # texts (n) in one role to vectors (n, d)
EMPTY = content_id("")  # a document without text keeps its row in a corpus, but is never a negative


def mine_pairs(
    pairs: MiningPairs,
    embed: Embed,
    controls: Controls | None,
    *,
    corpus: Column | None = None,
    rescore: Rescorer | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> MiningResult:
    """Return the hard negatives of all queries of `pairs`, among its keys and the documents of a corpus.

    A key with the same text as the query is ignored: it is neither a positive nor a negative.
    """
    queries, query_of_cell = DistinctTexts.of(pairs.query)
    keys, key_of_cell = DistinctTexts.of(pairs.key, *([] if corpus is None else [corpus]))
    if len(queries) == 0 or len(keys) == 0:
        raise InputError("mining: the data has no texts; give a table with rows")
    same_text = np.stack([queries.text_ids, queries.text_ids], 1)

    def rescore_rows(query: Ids, key: Ids) -> Scores:
        assert rescore is not None
        return np.asarray(rescore(queries.texts(query), keys.texts(key)), np.float32)

    mined = hard_negatives(
        embed(queries, "query"),
        embed(keys, "key"),
        _rows(pairs.positives, queries, keys),
        controls,
        ignored=_rows(np.concatenate([pairs.ignored, same_text]), queries, keys),
        rescore=None if rescore is None else rescore_rows,
        advance=advance,
    )
    examples = query_of_cell[pairs.examples[:, 0]], key_of_cell[pairs.examples[:, 1]]
    return MiningResult(queries, keys, examples, mined)


@dataclass(frozen=True)
class MiningResult:
    """A data set's hard negatives.

    queries, keys: the n and m distinct texts. examples: each example's row of `queries` (e,) and of `keys` (e,), -1 for
    a cell without text. mined: the negatives, as rows of `queries` and `keys`.
    """

    queries: DistinctTexts
    keys: DistinctTexts
    examples: PairRows
    mined: HardNegatives

    @cached_property
    def pairs(self) -> PairRows:
        """The distinct examples, in order of appearance, without those that lack a text."""
        query, key = self.examples
        pairs = np.stack([query, key], 1)[(query >= 0) & (key >= 0)]
        first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
        return pairs[first, 0], pairs[first, 1]


class Rescorer(Protocol):
    """A scorer of pairs, such as a cross-encoder: the i-th query with the i-th text."""

    def __call__(self, queries: list[str], texts: list[str]) -> Scores:
        """Return the scores (e,)."""
        ...


@dataclass(frozen=True)
class DistinctTexts:
    """The distinct texts of columns: their content ids (n,), and the column and the row (n,) of each one's first cell.

    The object is itself a column.
    """

    columns: Sequence[Column]
    text_ids: Ids
    column: Ids
    row: Ids
    name: str = "contents"

    @classmethod
    def of(cls, *columns: Column) -> tuple[Self, Ids]:
        """Return the texts in order of appearance, and the place among them of each cell of the first column.

        Empty texts are left out; their place is -1.
        """
        sizes = [len(column) for column in columns]
        ids = np.concatenate([content_ids(column) for column in columns])
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        order = np.argsort(first)
        order = order[ids[first[order]] != EMPTY]
        place = np.full(len(first), -1, np.int64)
        place[order] = np.arange(len(order))
        first = first[order]
        starts = np.cumsum([0, *sizes])
        column = np.searchsorted(starts, first, side="right") - 1
        return cls(columns, ids[first], column, first - starts[column]), place[inverse[: sizes[0]]]

    def __len__(self) -> int:
        return len(self.text_ids)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the texts `start` to `stop`, as a column does."""
        return self.texts(np.arange(start, stop))

    def ids(self) -> Ids:
        """Return the content ids of the texts, as a column does."""
        return self.text_ids

    def texts(self, places: Ids) -> list[Any]:
        """Return the texts at some places, in the order of `places`."""
        column_of, row_of = self.column[places], self.row[places]
        texts: list[Any] = [None] * len(places)
        for i, column in enumerate(self.columns):
            of_column = np.flatnonzero(column_of == i)
            for position, text in zip(of_column.tolist(), take(column, row_of[of_column])):
                texts[position] = text
        return texts


def mining_pairs_of(source: Any) -> MiningPairs:
    """Return what to mine from, of positives with one query and one key view or of a retrieval task.

    Errors: `InputError` for several data sets, and for positives that are no pairs.
    """
    if isinstance(source, Retrieval):
        relevant = [(q, d) for q, grades in source.relevance.items() for d, grade in grades.items() if grade > 0]
        rows = np.array(relevant, np.int64).reshape(-1, 2)
        positives = np.stack([content_ids(source.queries)[rows[:, 0]], content_ids(source.documents)[rows[:, 1]]], 1)
        return MiningPairs(source.queries, source.documents, rows, positives, positives[:0])
    found = source.mining_pairs() if isinstance(source, Minable) else []
    if len(found) > 1:
        raise InputError(f"mining goes through one data set at a time, these are {len(found)}; mine each by itself")
    if not found:
        raise InputError(
            f"mining needs pairs of a query and a key, as positives.columns has; not {type(source).__name__}"
        )
    return found[0]


def embed_cached(model: Any, texts: DistinctTexts, role: Role) -> Vectors:
    """Return the vectors (n, d) of texts in one role, memory-mapped from a cache on disk.

    The cache is keyed by the fingerprints of the model (its weights, tokenizer, prompts) and of the texts, so a model
    that was trained further never gets the vectors of an older one. A model without a fingerprint embeds each time.
    """
    identity = fingerprint_of(model)
    if identity is None:
        return embed_fresh(model, texts, role)
    folder = cache_folder("vectors") / fingerprint("vectors 2", identity, role, _is_bf16(model), texts.text_ids)
    shape = (len(texts), int(model.dim))
    with suppress(OSError, ValueError):
        return _read(folder, shape)
    # a folder that exists here holds a truncated file
    with write_folder_atomically(folder, overwrite=folder.exists()) as temporary:
        path = temporary / "vectors"
        with explain_write_errors(path), path.open("wb") as file:
            for part in _slices(model, texts, role):
                file.write(np.ascontiguousarray(part, "<f4").data)
    return _read(folder, shape)


def embed_fresh(model: Any, texts: DistinctTexts, role: Role) -> Vectors:
    """Return the vectors (n, d) of texts in one role, without the cache."""
    vectors, done = np.empty((len(texts), 0), np.float32), 0
    for part in _slices(model, texts, role):
        if not done:
            vectors = np.empty((len(texts), part.shape[1]), np.float32)
        vectors[done : done + len(part)] = part
        done += len(part)
    return vectors


def _rows(contents: Ids, queries: DistinctTexts, keys: DistinctTexts) -> PairRows:
    """Return the rows of pairs of content ids (e, 2), each pair once; pairs with another text are left out."""
    contents = np.unique(contents, axis=0)
    pair, query = equal_pairs(contents[:, 0], queries.text_ids)
    place, key = equal_pairs(contents[pair, 1], keys.text_ids)
    return query[place], key


def _is_bf16(model: Any) -> bool:
    """Say whether vectors are computed in bf16: they differ in the third digit."""
    return (isinstance(model, InBf16) and model.bf16) or torch.is_autocast_enabled("cpu")


def _read(folder: Path, shape: tuple[int, int]) -> Vectors:
    path = folder / "vectors"
    if path.stat().st_size != shape[0] * shape[1] * 4:
        raise OSError("truncated")
    os.utime(path)  # the time of the last use, so that the cache can be cleared by age
    # "c": writable, as torch wants its arrays, though the file never changes
    return np.memmap(path, "<f4", "c", shape=shape)


def _slices(model: Any, texts: DistinctTexts, role: Role) -> Iterator[Vectors]:
    for _, embedded, vectors in embed_slices(partial(model.embed, role=role), texts):
        assert embedded.all()
        yield np.asarray(vectors, np.float32)
