"""Reranking: the best rows of a search are scored anew by a model that reads query and text together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.index.hybrid import Hit
from nearfar.storage.places import expanded

DEPTH = 50  # rows of each query that are reranked, by default
PairScorer = Callable[[list[str], list[str]], npt.NDArray[np.float32]]  # of the i-th query with the i-th text


class Rerankers:
    """Rerankers by their folders: the last one is kept, as it takes seconds to be read."""

    def __init__(self) -> None:
        self._read: tuple[Path, PairScorer] | None = None

    def of(self, given: Any, depth: Any) -> Reranking:
        """Return a checked reranking: by a cross-encoder's folder, or by what scores pairs itself.

        Errors: `InputError` for a folder that is none, what is neither, and a depth below 1.
        """
        if type(depth) is not int or depth < 1:
            raise InputError(
                f"search: the depth of a reranking must be a whole number of at least 1, it is {depth!r:.40}"
            )
        if callable(given):
            return Reranking(given, depth, type(given).__name__)
        if not isinstance(given, str | Path):
            raise InputError(
                f"search: rerank is {type(given).__name__}; give a cross-encoder's folder, or what scores pairs"
            )
        folder = expanded(given)
        if self._read is None or self._read[0] != folder:
            from nearfar.encoders.pretrained.cross_encoder import CrossEncoder  # it imports torch, which takes seconds

            self._read = folder, CrossEncoder(folder)
        return Reranking(self._read[1], depth, str(folder))


@dataclass(frozen=True)
class Reranking:
    """How the best `depth` rows of each query are ordered: by a scorer of pairs. name: of the scorer, for errors."""

    score: PairScorer
    depth: int
    name: str

    def refuse(self, queries: Sequence[Any]) -> None:
        """Refuse queries that are no texts, before anything is searched."""
        for number, query in enumerate(queries, 1):
            if query is None:
                raise InputError("search: like= has no words that a reranker could read; leave rerank out")
            if not isinstance(query, str):
                raise InputError(
                    f"search: query {number} is {type(query).__name__}, and a reranker reads texts; leave rerank out"
                )

    def reranked(self, queries: Sequence[str], found: list[list[Hit]], k: int) -> list[list[Hit]]:
        """Return the k best hits of each query by the scorer, equal scores by id; all pairs are scored in one call.

        Errors: `InputError` for a row without a text, and for scores that are not finite numbers, one for each pair.
        """
        hits = [hit for of_query in found for hit in of_query]
        for hit in hits:
            if hit.text is None:
                raise InputError(
                    f"search: row {hit.id!r:.60} was found and has no text, and a reranker reads texts; leave such "
                    "rows out by a filter (where), or search without rerank"
                )
        asked = [query for query, of_query in zip(queries, found) for _ in of_query]
        scores = self._scores(asked, [str(hit.text) for hit in hits]).tolist()
        ordered, start = [], 0
        for of_query in found:
            own = scores[start : start + len(of_query)]
            order = sorted(range(len(own)), key=lambda i, own=own, of_query=of_query: (-own[i], of_query[i].id))[:k]  # type: ignore[misc]
            ordered.append([_placed(of_query[before], own[before], rank, before) for rank, before in enumerate(order)])
            start += len(of_query)
        return ordered

    def _scores(self, queries: list[str], texts: list[str]) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty(0, np.float32)
        given = self.score(queries, texts)
        try:
            scores = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:  # such as lists of several lengths
            raise InputError(
                f"{self.name}: gives no scores of pairs ({error}); one number for each is needed"
            ) from error
        if scores.shape != (len(texts),):
            raise InputError(f"{self.name}: gives scores {scores.shape} for {len(texts)} pairs; one for each is needed")
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise InputError(
                f"{self.name}: scores {queries[row][:40]!r} with {texts[row][:40]!r} as {scores[row]}, which orders "
                "nothing; take another reranker"
            )
        return scores


def _placed(hit: Hit, score: float, rank: int, before: int) -> Hit:
    """Return a hit with its new score, which says where it was, where hits explain themselves. Ranks are from 0."""
    said = None if hit.explain is None else {"score": score, "rank": rank + 1, "before": before + 1}
    return replace(hit, score=score, explain=None if said is None else {**(hit.explain or {}), "reranked": said})
