"""BM25 for English: search by the stems of words."""

from __future__ import annotations

from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.evaluation.floors.bm25 import bm25_ranking


class Bm25EnglishFloor:
    """BM25 with English stop words and stems (`text.bm25.Bm25`), which knows English beforehand."""

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = ()
    fused: ClassVar[bool] = True

    def __call__(self, task: tasks.Retrieval, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the ranking of the documents for each query."""
        return bm25_ranking(task, "bm25-english")
