"""BM25: search by words."""

from __future__ import annotations

from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Predictions
from nearfar.evaluation.report import DEPTH
from nearfar.text.bm25 import Bm25


class Bm25Floor:
    """BM25 of any language (`text.bm25.Bm25`): the documents that share the query's words, the rare ones first."""

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    fused: ClassVar[bool] = True
    matches_words: ClassVar[bool] = True

    def __call__(self, task: tasks.Retrieval, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the ranking of the documents for each query."""
        return bm25_ranking(task, "bm25")


def bm25_ranking(task: tasks.Retrieval, name: str, language: str | None = None) -> Predictions:
    """Return what BM25 with the stems of a language makes of a task; None is without stems."""
    bm25 = Bm25(task.documents, language=language)
    ranking = bm25.rank(task.queries.read(0, len(task.queries)), DEPTH, task.excluded)
    return Predictions(ranking=ranking, about={"name": name, **bm25.settings})
