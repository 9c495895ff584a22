"""The hit rate: whether any of a query's relevant documents is among the best."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions, RankedDocuments, Values
from nearfar.errors import InputError

DEPTHS = (1, 5, 10)  # those that papers on pictures and captions give


class HitRate:
    """The share of queries with any relevant document among the k best; 0 to 1, higher is better.

        hit(q) = 1 if some relevant document has fewer than k others that score as high or higher, else 0

    The others are those that are not relevant, so documents at one score are ranked against the model. This is what
    papers on pictures and captions call R@k, where a picture has five captions and is found by any of them (Hodosh,
    Young & Hockenmaier 2013, doi:10.1613/jair.3994; Karpathy & Fei-Fei 2015, arXiv:1412.2306), and what trec_eval calls
    success. `recall@k` of `retrieval` is another number: the share of the relevant documents that is among the k best.
    Where each query has one relevant document the two are the same, but for documents at one score.

    Args:
        depths: the numbers k of documents, each at least 1.

    Call: a task of q queries and its ranking -> for each k an array (q,) of 0 and 1. A query without a relevant
    document gets NaN.

    Errors: `InputError`: depths out of range; a ranking of another task, or one that is not so deep.

    Example:
        >>> HitRate(depths=[1]).meaning["hit_rate@1"]
        'share of queries with any relevant document ranked first; R@1 of papers on pictures and captions'

    When not to use it: where a user needs all relevant documents; see `retrieval`.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    needs: ClassVar[tuple[str, ...]] = ("ranking",)
    usual: ClassVar[bool] = True

    def __init__(self, depths: list[int] | None = None) -> None:
        self.depths = list(DEPTHS) if depths is None else list(depths)
        if not self.depths or min(self.depths) < 1 or len(set(self.depths)) < len(self.depths):
            raise InputError(
                f"hit_rate.depths: give different whole numbers from 1 on, such as [1, 5, 10], not {depths}"
            )
        self.meaning = {f"hit_rate@{k}": self._meaning(k) for k in self.depths}

    @staticmethod
    def _meaning(k: int) -> str:
        where = "ranked first" if k == 1 else f"among the {k} best"
        return f"share of queries with any relevant document {where}; R@{k} of papers on pictures and captions"

    def usual_for(self, task: tasks.Task) -> bool:
        """Return whether the task is between kinds, such as pictures and texts, where this is the usual figure."""
        return tasks.between_kinds(task)

    def __call__(self, task: tasks.Retrieval, predictions: Predictions) -> dict[str, Values]:
        """Return whether each query (q,) has a hit, by name."""
        ranks = first_ranks(task, _checked(predictions.ranking, task, max(self.depths)))
        hits = [np.where(np.isnan(ranks), np.nan, ranks <= k) for k in self.depths]
        return dict(zip(self.meaning, hits, strict=True))


def first_ranks(task: tasks.Retrieval, ranking: RankedDocuments) -> Values:
    """Return the rank (q,) of each query's best relevant document, from 1, after all others at its score.

    Infinity where the ranking does not hold it, or ends among documents of its score, as those that are left out may
    have it, too; NaN for a query without a relevant document.
    """
    found = np.full(len(task.queries), np.nan)
    for query, grades in task.relevance.items():
        relevant = [row for row, grade in grades.items() if grade > 0]
        if not relevant:
            continue
        rows, scores = ranking.rows[query], ranking.scores[query]
        is_relevant = np.isin(rows, relevant)
        if not is_relevant.any():
            found[query] = np.inf
            continue
        best = scores[is_relevant.argmax()]
        others = (scores >= best) & ~is_relevant & (rows >= 0)
        is_whole = len(rows) >= len(task.documents) or rows[-1] < 0  # no document is left out
        found[query] = 1 + others.sum() if is_whole or scores[-1] < best else np.inf
    return found


def _checked(ranking: RankedDocuments | None, task: tasks.Retrieval, deepest: int) -> RankedDocuments:
    q, m = len(task.queries), len(task.documents)
    if ranking is None:
        raise InputError("hit_rate: needs a ranking of the documents")
    if len(ranking.rows) != q:
        raise InputError(f"hit_rate: the ranking has {len(ranking.rows)} queries, the task has {q}")
    if ranking.rows.shape[1] < min(deepest, m):
        raise InputError(
            f"hit_rate: the ranking is {ranking.rows.shape[1]} deep; give {min(deepest, m)} or more results"
        )
    if ranking.rows.size and ranking.rows.max() >= m:
        raise InputError(f"hit_rate: the ranking has document {ranking.rows.max()}, the task only 0 to {m - 1}")
    return ranking
