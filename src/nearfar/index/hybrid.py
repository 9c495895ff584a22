"""Search by vectors, by words, and by both: two rankings become one, and each hit can say why it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.index.backend import Backend
from nearfar.index.filters import Filter, meets
from nearfar.index.rescore import best, exact_scores
from nearfar.index.rows import Nearest, Value, Vectors
from nearfar.index.words import FoundByWords, ScoredByWords

Mode = Literal["vectors", "words", "hybrid"]
MODES = ("vectors", "words", "hybrid")
Fusion = Literal["rrf"] | Mapping[str, float]
LEGS = ("vectors", "words")
# By what a hybrid search fuses where nothing is said. Chosen on other queries than it is judged by; see LOG.md.
WEIGHTED: Fusion = MappingProxyType({"vectors": 0.6, "words": 0.4})
K0 = 60  # the constant of reciprocal rank fusion
_LEAST = {"vectors": -1.0, "words": 0.0}  # the least possible score
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


def by_words(scored: ScoredByWords, backend: Backend, k: int, where: Filter | None) -> FoundByWords:
    """Return the k best rows by words among those that match a filter, and that the backend has."""
    if where is not None:
        first = scored.best(max(_FIRST_LOOK, k))
        rows = backend.get(first.ids)
        kept = [i for i, row in enumerate(rows) if row is not None and meets(where, row.fields)][:k]
        if len(kept) == k or len(first.ids) < max(_FIRST_LOOK, k):
            return _part(first, kept)
        return scored.best(k, backend.ids(where))
    return scored.best(k)


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
    scored: ScoredByWords,
    vector: Vectors,
    near: Nearest,
    k: int,
    where: Filter | None,
    fusion: Fusion,
) -> RankedHits:
    """Return the k best rows by words and vectors together; as many as match, where that is fewer.

    scored: all rows by words. vector: the query's, (d,). near: what is nearest to it, to a depth of k or DEPTH, where k
    is less.
    """
    found = by_words(scored, backend, max(k, DEPTH), where)
    if fusion == "rrf":  # a write that was broken off may have left words of a row that is not there
        there = backend.get(found.ids)
        return fused(near, _part(found, [i for i, row in enumerate(there) if row is not None]), k, fusion)
    both = _by_vectors(backend, vector, sorted({*near.ids, *found.ids}))  # both scores of every row of either
    return fused(both, scored.best(max(len(both.ids), 1), both.ids), k, fusion)


def _by_vectors(backend: Backend, vector: Vectors, ids: Sequence[str]) -> Nearest:
    """Return given rows by their cosine, but those that another process has removed meanwhile."""
    left = list(ids)
    while True:
        try:
            return best(left, exact_scores(vector, backend.vectors(left)), len(left))
        except KeyError as gone:
            left.remove(gone.args[0])


def fused(vectors: Nearest, words: FoundByWords, k: int, fusion: Fusion) -> RankedHits:
    """Return the k best rows of two rankings together."""
    union = sorted({*vectors.ids, *words.ids})
    how: Any = "rrf" if fusion == "rrf" else dict(fusion)
    parts = {name: _part_of_leg(union, name, leg, how) for name, leg in (("vectors", vectors), ("words", words))}
    together = best(union, sum(parts.values()).astype(np.float32), k)  # type: ignore[union-attr]
    place = {name: row for row, name in enumerate(union)}
    ranks = [{name: rank for rank, name in enumerate(ids)} for ids in (vectors.ids, words.ids)]
    explain = []
    for rank, name in enumerate(together.ids):
        by_vectors, by_word = (of_leg.get(name) for of_leg in ranks)
        of_legs = {leg: float(part[place[name]]) for leg, part in parts.items()}
        explain.append(
            {
                "vectors": None if by_vectors is None else _leg(vectors.scores[by_vectors], by_vectors),
                "words": None if by_word is None else _words_leg(words, by_word),
                "fused": {**_leg(together.scores[rank], rank), "by": how, "parts": of_legs},
            }
        )
    return RankedHits(together.ids, together.scores, explain)


def _part_of_leg(
    union: list[str], name: str, leg: Nearest | FoundByWords, fusion: Mapping[str, float] | Literal["rrf"]
) -> npt.NDArray[np.float64]:
    """Return what a ranking gives each row (n,) of a union, nothing where it did not find it; the sum is the score.

    "rrf": 1 / (60 + rank). Weights: the leg's share of them, times the score between the least possible one, which is
    0, and the best one, which is 1. Sources: Cormack, Clarke & Buettcher 2009, "Reciprocal rank fusion outperforms
    Condorcet and individual rank learning methods"; Bruch, Gai & Ingber 2023, "An analysis of fusion functions for
    hybrid retrieval", arXiv:2210.11934 (the theoretical minimum: -1 for cosines, 0 for BM25).
    """
    place = {each: row for row, each in enumerate(union)}
    given = np.zeros(len(union))
    rows = [place[each] for each in leg.ids]
    if fusion == "rrf":
        given[rows] = 1 / (K0 + 1 + np.arange(len(rows)))
        return given
    above = leg.scores.astype(np.float64) - _LEAST[name]
    most = above.max(initial=0.0)
    if most > 0:
        given[rows] = fusion[name] / sum(fusion.values()) * above / most
    return given


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
