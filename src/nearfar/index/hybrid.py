"""Search by vectors, by words, and by both: two rankings become one, and each hit can say why it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.index.backend import Backend
from nearfar.index.filters import Filter, meets
from nearfar.index.rescore import best, exact_scores
from nearfar.index.rows import Nearest, Value, Vectors
from nearfar.index.words import FoundByWords, Words
from nearfar.text.bm25 import reciprocal_rank_fusion
from nearfar.vectors.ranking import Ranking

Mode = Literal["vectors", "words", "hybrid"]
MODES = ("vectors", "words", "hybrid")
Fusion = Literal["rrf"] | Mapping[str, float]
LEGS = ("vectors", "words")
DEPTH = 100  # of the two rankings of a hybrid search, at least
_FIRST_LOOK = 1000  # rows by words of which a filter is asked before it is asked for all that match


@dataclass(frozen=True)
class Hit:
    """A row that was found. score: the cosine, BM25's or the fusion's, by the mode; or the reranker's.

    explain: where it was asked for, what each ranking gave ("vectors" and "words": score and rank, None where it did
    not find the row; what each term of the query gave), how they were fused, and what a reranker gave ("reranked":
    score, rank, and the rank before).
    """

    id: str
    score: float
    text: str | None = None
    fields: dict[str, Value] = field(default_factory=dict)
    explain: dict[str, Any] | None = None


@dataclass(frozen=True)
class RankedHits:
    """The ids of one query, best first, their scores (k,), and what each may say of itself."""

    ids: list[str]
    scores: npt.NDArray[np.float32]
    explain: list[dict[str, Any]]


def checked_fusion(fusion: Any) -> Fusion:
    """Return "rrf", or the weights of both rankings. Errors: `InputError` for anything else."""
    if fusion == "rrf":
        return "rrf"
    numbers = isinstance(fusion, Mapping) and all(type(value) in (int, float) for value in fusion.values())
    if not numbers or set(fusion) != set(LEGS) or min(fusion.values()) < 0 or not 0 < sum(fusion.values()) < np.inf:
        raise InputError(
            f"fusion: write 'rrf', or weights {{'vectors': 0.7, 'words': 0.3}} of at least 0; it is {fusion!r:.80}"
        )
    return dict(fusion)


def by_words(words: Words, backend: Backend, query: str, k: int, where: Filter | None) -> FoundByWords:
    """Return the k best rows by words among those that match a filter, and that the backend has."""
    if where is not None:
        first = words.search(query, max(_FIRST_LOOK, k))
        rows = backend.get(first.ids)
        kept = [i for i, row in enumerate(rows) if row is not None and meets(where, row.fields)][:k]
        if len(kept) == k or len(first.ids) < max(_FIRST_LOOK, k):
            return _part(first, kept)
        return words.search(query, k, backend.ids(where))
    return words.search(query, k)


def explained_vectors(found: Nearest) -> RankedHits:
    """Return a ranking by vectors alone."""
    explain = [{"vectors": _leg(found.scores[i], i), "words": None} for i in range(len(found.ids))]
    return RankedHits(found.ids, found.scores, explain)


def explained_words(found: FoundByWords) -> RankedHits:
    """Return a ranking by words alone."""
    explain = [{"vectors": None, "words": _words_leg(found, i)} for i in range(len(found.ids))]
    return RankedHits(found.ids, found.scores, explain)


def hybrid(
    backend: Backend,
    words: Words,
    query: tuple[str, Vectors],
    near: Nearest,
    k: int,
    where: Filter | None,
    fusion: Fusion,
) -> RankedHits:
    """Return the k best rows by words and vectors together; as many as match, where that is fewer.

    query: its text and its vector (d,). near: what is nearest to it, to a depth of k or DEPTH, where k is less.
    """
    words_found = by_words(words, backend, query[0], max(k, DEPTH), where)
    there = backend.get(words_found.ids)  # a write that was broken off may have left words of a row that is not there
    found = _part(words_found, [i for i, row in enumerate(there) if row is not None])
    return fused(near, found, k, fusion, _Exact(backend, words, query[1], query[0]))


def fused(vectors: Nearest, words: FoundByWords, k: int, fusion: Fusion, exact: _Exact) -> RankedHits:
    """Return the k best rows of two rankings together."""
    union = sorted({*vectors.ids, *words.ids})
    if fusion == "rrf":
        ranking = reciprocal_rank_fusion([_ranking(union, vectors.ids), _ranking(union, words.ids)], depth=max(k, 1))
        found = [(union[row], score) for row, score in zip(ranking.rows[0], ranking.scores[0]) if row >= 0]
        together = Nearest([name for name, _ in found], np.array([score for _, score in found], np.float32))
        how: Any = "rrf"
    else:
        vectors, words = exact.vectors(union), exact.words(union)  # both scores of every row of either
        together, how = _weighted(union, vectors, words, k, fusion), dict(fusion)
    ranks = [{name: rank for rank, name in enumerate(ids)} for ids in (vectors.ids, words.ids)]
    explain = []
    for rank, name in enumerate(together.ids):
        by_vectors, by_word = (of_leg.get(name) for of_leg in ranks)
        explain.append(
            {
                "vectors": None if by_vectors is None else _leg(vectors.scores[by_vectors], by_vectors),
                "words": None if by_word is None else _words_leg(words, by_word),
                "fused": {**_leg(together.scores[rank], rank), "by": how},
            }
        )
    return RankedHits(together.ids, together.scores, explain)


class _Exact:
    """Scores of given rows with one query, ranked."""

    def __init__(self, backend: Backend, words: Words, vector: Vectors, query: str) -> None:
        self._backend, self._words, self._vector, self._query = backend, words, vector, query

    def vectors(self, ids: Sequence[str]) -> Nearest:
        """Return all rows by their cosine."""
        return best(ids, exact_scores(self._vector, self._backend.vectors(ids)), len(ids))

    def words(self, ids: Sequence[str]) -> FoundByWords:
        """Return those rows that share a term with the query."""
        return self._words.search(self._query, max(len(ids), 1), ids)


def _weighted(union: list[str], vectors: Nearest, words: FoundByWords, k: int, weights: Mapping[str, float]) -> Nearest:
    """Return the k best of rows by the weighted mean of their scores, each from its least possible one to 0, most to 1.

    Source: Bruch, Gai & Ingber 2023, "An analysis of fusion functions for hybrid retrieval", arXiv:2210.11934 (the
    theoretical minimum: -1 for cosines, 0 for BM25).
    """
    place = {name: i for i, name in enumerate(union)}
    scores = np.zeros(len(union))
    total = sum(weights.values())
    for name, least, leg in (("vectors", -1.0, vectors), ("words", 0.0, words)):
        above = leg.scores.astype(np.float64) - least
        most = above.max(initial=0.0)
        if most > 0:
            scores[[place[each] for each in leg.ids]] += weights[name] / total * above / most
    return best(union, scores.astype(np.float32), k)


def _ranking(union: list[str], ids: list[str]) -> Ranking:
    """Return ids as rows of a union, whose order makes equal scores be ordered by id."""
    rows = np.searchsorted(np.array(union, object), np.array(ids, object)) if ids else np.empty(0, np.int64)
    return Ranking(np.asarray(rows, np.int64)[None], np.zeros((1, len(ids)), np.float32))


def _part(found: FoundByWords, kept: list[int]) -> FoundByWords:
    if len(kept) == len(found.ids):
        return found
    terms = {term: values[kept] for term, values in found.terms.items()}
    return FoundByWords([found.ids[i] for i in kept], found.scores[kept], terms)


def _leg(score: Any, rank: int) -> dict[str, Any]:
    return {"score": float(score), "rank": rank + 1}


def _words_leg(found: FoundByWords, i: int) -> dict[str, Any]:
    terms = {term: float(values[i]) for term, values in found.terms.items() if values[i] > 0}
    return {**_leg(found.scores[i], i), "terms": terms}
