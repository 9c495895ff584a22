"""The pipeline from texts to hard negatives: distinct texts, their vectors, and a search without known pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch

from nearfar.abilities import InBf16, Minable, Tokenises, fingerprint_of, side
from nearfar.column import Aliases, Column, Ids, content_id, content_ids, equal_pairs, take
from nearfar.contracts import MiningPairs, Role
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.hard import COPIES, HardNegatives, PairRows, Scores, hard_negatives
from nearfar.model import Model
from nearfar.sides import ROLES
from nearfar.storage.column_cache import cached_folder
from nearfar.tasks import Retrieval
from nearfar.text.alike import PromptedTokenizer, read_alike
from nearfar.vectors.embed import Vectors, embed_slices

Embed = Callable[[Any, "DistinctTexts", Role], Vectors]  # a model and texts (n) in one role to vectors (n, d)
EMPTY = content_id("")  # a document without text keeps its row in a corpus, but is never a negative


def mine_pairs(
    pairs: MiningPairs,
    model: Any,
    embed: Embed,
    controls: Controls | None,
    *,
    corpus: Column | None = None,
    rescore: Rescorer | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> MiningResult:
    """Return the hard negatives of all queries of `pairs`, among its keys and the documents of a corpus.

    Texts that the model reads alike are one text. A key that is the query's text is ignored: it is neither a positive
    nor a negative.
    """
    columns = [pairs.query, pairs.key, *([] if corpus is None else [corpus])]
    aliases = read_alike(columns, _readers(model))
    queries, query_of_cell = DistinctTexts.of(pairs.query, aliases=aliases)
    keys, key_of_cell = DistinctTexts.of(*columns[1:], aliases=aliases)
    if len(queries) == 0 or len(keys) == 0:
        raise InputError("mining: the data has no texts; give a table with rows")
    contents = np.unique(content_ids(pairs.query))
    same_text = np.stack([contents, contents], 1)
    ignored = np.concatenate([pairs.ignored, same_text])

    def rescore_rows(query: Ids, key: Ids) -> Scores:
        assert rescore is not None
        return np.asarray(rescore(queries.texts(query), keys.texts(key)), np.float32)

    mined = hard_negatives(
        embed(model, queries, "query"),
        embed(model, keys, "key"),
        _rows(aliases(pairs.positives), queries, keys),
        controls,
        ignored=_rows(aliases(ignored), queries, keys),
        rescore=None if rescore is None else rescore_rows,
        advance=advance,
    )
    copies = _copies(np.concatenate([pairs.positives, ignored]), aliases, columns) if len(aliases) else 0
    if copies:
        mined = replace(mined, removed={**mined.removed, COPIES: copies + mined.removed.get(COPIES, 0)})
    examples = query_of_cell[pairs.examples[:, 0]], key_of_cell[pairs.examples[:, 1]]
    return MiningResult(queries, keys, examples, mined, pairs)


def _readers(model: Any) -> list[PromptedTokenizer]:
    """Return how a model cuts the texts of each role into tokens; [] where it does not say."""
    if not isinstance(model, Model):
        return []
    sides = {role: side(model.encoder, role) for role in ROLES}
    found = {(id(of), model.prompts[role]): of for role, of in sides.items() if isinstance(of, Tokenises)}
    return [(of.tokenise, text) for (_, text), of in found.items()]


def _copies(pairs: Ids, aliases: Aliases, columns: Sequence[Column]) -> int:
    """Return how many pairs of a query and a key are left out because they read like one of `pairs` (e, 2)."""
    queries, keys = np.unique(content_ids(columns[0])), np.unique(np.concatenate(list(map(content_ids, columns[1:]))))
    given = np.unique(np.stack([aliases(pairs[:, 0]), pairs[:, 1]], 1), axis=0)
    given = given[np.isin(given[:, 0], aliases(queries)) & np.isin(given[:, 1], keys)]
    read, size = np.unique(aliases(keys), return_counts=True)  # contents of each text that the model reads
    alike = np.unique(aliases(pairs), axis=0)
    alike = alike[np.isin(alike[:, 0], aliases(queries)) & np.isin(alike[:, 1], read)]
    return int(size[np.searchsorted(read, alike[:, 1])].sum()) - len(given)


@dataclass(frozen=True)
class MiningResult:
    """A data set's hard negatives.

    queries, keys: the n and m distinct texts. examples: each example's row of `queries` (e,) and of `keys` (e,), -1 for
    a cell without text. mined: the negatives, as rows of `queries` and `keys`. source: what was mined from. dropped:
    how many listed examples people dropped.
    """

    queries: DistinctTexts
    keys: DistinctTexts
    examples: PairRows
    mined: HardNegatives
    source: MiningPairs
    dropped: int = 0

    @cached_property
    def distinct(self) -> Ids:
        """The first of the examples with each query and key, in order, without those that lack a text."""
        query, key = self.source.examples.T
        contents = np.stack([content_ids(self.source.query)[query], content_ids(self.source.key)[key]], 1)
        has_texts = np.flatnonzero((self.examples[0] >= 0) & (self.examples[1] >= 0))
        return has_texts[np.sort(np.unique(contents[has_texts], axis=0, return_index=True)[1])]

    @cached_property
    def pairs(self) -> PairRows:
        """The rows of `queries` and of `keys` of the distinct examples."""
        return self.examples[0][self.distinct], self.examples[1][self.distinct]

    def texts(self, examples: Ids) -> tuple[list[Any], list[Any]]:
        """Return the queries and the keys of some examples, as they are written there."""
        query, key = self.source.examples[examples].T
        return take(self.source.query, query), take(self.source.key, key)


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
    def of(cls, *columns: Column, aliases: Aliases | None = None) -> tuple[Self, Ids]:
        """Return the texts in order of appearance, and the place among them of each cell of the first column.

        Texts that count as one by the aliases are one, the first of them. Empty texts are left out; their place is -1.
        """
        sizes = [len(column) for column in columns]
        ids = np.concatenate([content_ids(column) for column in columns])
        ids = ids if aliases is None else aliases(ids)
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

    def write(new: Path) -> None:
        with (new / "vectors").open("wb") as file:
            for part in _slices(model, texts, role):
                file.write(np.ascontiguousarray(part, "<f4").data)

    path = cached_folder(("vectors 2", identity, role, _is_bf16(model)), texts, write, "vectors") / "vectors"
    with suppress(OSError):  # where it is another user's
        os.utime(path)  # the time of the last use, so that the cache can be cleared by age
    # "c": writable, as torch wants its arrays, though the file never changes
    return np.memmap(path, "<f4", "c", shape=(len(texts), int(model.dim)))


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


def _slices(model: Any, texts: DistinctTexts, role: Role) -> Iterator[Vectors]:
    for _, embedded, vectors in embed_slices(partial(model.embed, role=role), texts):
        assert embedded.all()
        yield np.asarray(vectors, np.float32)
