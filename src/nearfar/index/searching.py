"""A search of an index, from what was asked to hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from nearfar.column import is_empty
from nearfar.errors import InputError, nearest
from nearfar.index.embedding import Embedding
from nearfar.index.filters import Filter
from nearfar.index.folder import Generation
from nearfar.index.hybrid import (
    DEPTH,
    MODES,
    WEIGHTED,
    Fusion,
    Hit,
    Mode,
    RankedHits,
    by_words,
    checked_fusion,
    explained_vectors,
    explained_words,
    hybrid,
)
from nearfar.index.incoming import checked_id, checked_vectors
from nearfar.index.rows import Nearest, Vectors
from nearfar.index.store import RowStore


@dataclass
class Search:
    """What is asked: queries with the mode of each; a vector (d,) of each, None until it is embedded.

    without: ids that are not to be found.
    """

    queries: list[Any]
    modes: list[Mode]
    vectors: list[Vectors | None]
    k: int
    fusion: Fusion = field(default_factory=lambda: WEIGHTED)
    without: Sequence[str] = ()
    explain: bool = False

    def embed(self, embedding: Embedding, generation: Generation) -> None:
        """Embed the queries that need it."""
        left = [i for i, mode in enumerate(self.modes) if self.vectors[i] is None and mode != "words"]
        if left:
            found = embedding.embed([self.queries[i] for i in left], "query", generation)
            for i, vector in zip(left, found):
                self.vectors[i] = vector

    def run(self, store: RowStore, where: Filter | None, approximate: Mapping[str, Any] | None) -> list[list[Hit]]:
        """Return the hits of each query."""
        near = self._near(store, where, approximate)
        return [self._whole(store, i, near, where, approximate) for i in range(len(self.queries))]

    def _whole(
        self, store: RowStore, i: int, near: Mapping[int, Nearest], where: Filter | None, approximate: Any
    ) -> list[Hit]:
        """Return the hits of a query, with others in the place of rows that are gone by the time they are read."""
        ranked, asked = self._ranked(store, i, near, where), self.k
        hits = self._hits(store, ranked)
        while len(hits) < self.k and len(ranked.ids) == asked:
            asked += asked - len(hits)
            more = replace(self, queries=[self.queries[i]], modes=[self.modes[i]], vectors=[self.vectors[i]], k=asked)
            ranked = more._ranked(store, 0, more._near(store, where, approximate), where)
            hits = more._hits(store, ranked)
        return hits[: self.k]

    def _near(self, store: RowStore, where: Filter | None, approximate: Mapping[str, Any] | None) -> dict[int, Nearest]:
        """Return what is nearest to each query that has a vector, all queries of a mode at once."""
        found: dict[int, Nearest] = {}
        for mode, depth in (("vectors", self.k + len(self.without)), ("hybrid", max(self.k, DEPTH))):
            chosen = [i for i, each in enumerate(self.modes) if each == mode]
            if chosen:
                vectors = np.stack([cast("Vectors", self.vectors[i]) for i in chosen])
                nearest_rows = store.backend.nearest(vectors, depth, where, approximate=approximate)
                found.update(zip(chosen, nearest_rows))
        return found

    def _ranked(self, store: RowStore, i: int, near: Mapping[int, Nearest], where: Filter | None) -> RankedHits:
        if self.modes[i] != "vectors":
            with store.words.scored(self.queries[i], explain=self.explain) as scored:
                if self.modes[i] == "words":
                    return explained_words(by_words(scored, store.backend, self.k, where))
                vector = cast("Vectors", self.vectors[i])
                return hybrid(store.backend, scored, vector, near[i], self.k, where, self.fusion)
        kept = [place for place, name in enumerate(near[i].ids) if name not in self.without][: self.k]
        return explained_vectors(Nearest([near[i].ids[place] for place in kept], near[i].scores[kept]))

    def _hits(self, store: RowStore, ranked: RankedHits) -> list[Hit]:
        rows = store.backend.get(ranked.ids)
        return [
            Hit(row.id, float(score), row.text, row.fields, explain if self.explain else None)
            for row, score, explain in zip(rows, ranked.scores, ranked.explain)
            if row is not None  # another process has removed it meanwhile, or was broken off and left its words
        ]


def asked(
    query: Any, k: int, mode: Any, fusion: Any, store: RowStore, dim: int, *, explain: bool
) -> tuple[Search, bool]:
    """Return a checked search of a query or of several, and whether it was one.

    Errors: `InputError` for an empty query, a wrong vector by number, k < 1, an unknown mode or fusion.
    """
    _check(k, mode)
    is_single = not _are_several(query)
    queries = [query] if is_single else list(query)
    has_texts = mode is None and store.totals().texts > 0
    search = Search([], [], [], k, checked_fusion(fusion), explain=explain)
    for number, one in enumerate(queries):
        where = "search" if is_single else f"search: query {number + 1}"
        if is_empty(one):
            raise InputError(f"{where}: the query is empty; say in words what to look for, or give a vector")
        vector = _given_vector(one, dim, where)
        usual: Mode = "hybrid" if isinstance(one, str) and has_texts else "vectors"
        if mode in ("words", "hybrid") and not isinstance(one, str):
            raise InputError(f"{where}: mode {mode} reads texts, this is {type(one).__name__}; take mode 'vectors'")
        search.queries.append(one)
        search.modes.append(usual if mode is None else mode)
        search.vectors.append(vector)
    return search, is_single


def similar(ids: str | Sequence[str], k: int, mode: Any, store: RowStore, *, explain: bool) -> Search:
    """Return a search for rows like those of ids, by the mean of their vectors, without them.

    Errors: `InputError` for an id that is not there, none at all, or vectors that cancel out.
    """
    _check(k, mode)
    given = ids if isinstance(ids, Iterable) and not isinstance(ids, str) else [ids]
    names = list(dict.fromkeys(checked_id(name, f"search: like= {i + 1}") for i, name in enumerate(given)))
    if not names or mode in ("words", "hybrid"):
        raise InputError("search: like= takes ids of rows, and compares vectors; give at least one, and no other mode")
    vectors = vectors_of(store, names, "search: like=")
    mean = checked_vectors(
        vectors.mean(0, dtype=np.float64)[None], 1, vectors.shape[1], None, "search: the mean of like="
    )
    return Search([None], ["vectors"], [mean[0]], k, without=names, explain=explain)


def vectors_of(store: RowStore, ids: Sequence[str], what: str) -> Vectors:
    """Return the vectors (n, d) of rows. Errors: `InputError` for an id that is not there."""
    try:
        return store.backend.vectors(ids)
    except KeyError as error:
        raise InputError(f"{what}: no row has the id {error.args[0]!r:.60}") from error


def _check(k: Any, mode: Any) -> None:
    if type(k) is not int or k < 1:
        raise InputError(f"search: k must be a whole number of at least 1, it is {k!r:.40}")
    if mode is not None and mode not in MODES:
        raise InputError(f"search: no mode {mode!r:.40}; {nearest(str(mode), MODES)}")


def _are_several(query: Any) -> bool:
    """Return whether this is a list of queries: a list of numbers is one vector."""
    if isinstance(query, list | tuple):
        return not _are_numbers(query)
    return isinstance(query, np.ndarray) and query.ndim == 2 and query.dtype.kind == "f"


def _are_numbers(query: Any) -> bool:
    return isinstance(query, list | tuple) and bool(query) and isinstance(query[0], int | float | np.number)


def _given_vector(query: Any, dim: int, where: str) -> Vectors | None:
    """Return a query that is a vector as one of unit length; None for what is to be embedded."""
    numbers = _are_numbers(query)
    if numbers or (isinstance(query, np.ndarray) and query.ndim == 1 and query.dtype.kind in "fiu"):
        vector: Vectors = checked_vectors([query] if numbers else query[None], 1, dim, None, where)[0]
        return vector
    return None
