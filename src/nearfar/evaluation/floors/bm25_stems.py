"""BM25 with the language's stems: search by words that knows the language beforehand."""

from __future__ import annotations

from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.evaluation.floors.bm25 import bm25_ranking
from nearfar.text.language import detect
from nearfar.text.stems import STEMMERS, describe


class Bm25StemsFloor:
    """BM25 with the stems and without the stop words of the documents' language (`text.stems`), which it detects.

    Where the documents' language is not recognised, as with commands, the queries' is taken. Where there are no stems,
    it is BM25 itself, and says so.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    fused: ClassVar[bool] = True
    matches_words: ClassVar[bool] = True

    def __call__(self, task: tasks.Retrieval, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the ranking of the documents for each query."""
        language = detect(task.documents) or detect(task.queries)
        found = bm25_ranking(task, "bm25-stems", language)
        if language not in STEMMERS:
            return Predictions(
                ranking=found.ranking, about={**found.about, "same as": "bm25", "why": describe(language)}
            )
        return found
