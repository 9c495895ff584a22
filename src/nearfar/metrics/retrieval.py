"""Retrieval metrics: whether a ranking puts the relevant documents first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions, RankedDocuments, Values
from nearfar.errors import InputError

_QUERY_BLOCK = 500  # queries that are handed to ir-measures in one call


class Retrieval:
    """nDCG@10, MRR@10, MAP and Recall@1, 10 and 100 of each query, computed by ir-measures (trec_eval's definitions).

    nDCG uses the grade as the gain and log2(1 + rank) as the discount; for the others a document is relevant if its
    grade is above zero; MAP reads the ranking to its end. Source: Manning, Raghavan & Schuetze 2008, "Introduction to
    information retrieval", chapter 8; trec_eval's measures ndcg_cut_10, recip_rank, map and recall.

    Call: a task of q queries and its ranking (q, k) -> six arrays (q,) of values in [0, 1]. A query without a relevant
    document gets NaN. Documents without a judgement count as not relevant.

    Errors: `InputError`: a ranking with another number of queries, with unknown documents, or with fewer than 100
    results (where the task has as many documents), which recall@100 needs.

    When not to use it: to compare corpora: the values depend on the number of documents.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)
    needs: ClassVar[tuple[str, ...]] = ("ranking",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "ndcg@10": "gain of the ten best, discounted by log2(1 + rank), over that of the ideal order; grades are gains",
        "mrr@10": "1 / rank of the first relevant document, 0 where it is not among the ten best",
        "map": "mean over relevant documents of the precision at their rank, 0 for those beyond the depth",
        "recall@1": "share of the relevant documents that is ranked first",
        "recall@10": "share of the relevant documents that is among the ten best",
        "recall@100": "share of the relevant documents that is among the hundred best",
    }

    def __call__(self, task: tasks.Retrieval, predictions: Predictions) -> dict[str, Values]:
        """Return the values (q,) of the queries, by metric."""
        from ir_measures import AP, RR, R, iter_calc, nDCG  # slow to import

        q, m = len(task.queries), len(task.documents)
        ranking = _checked(predictions.ranking, q, m)
        full_depth = dict(zip((AP, R @ 100), ("map", "recall@100")))
        top_ten = dict(zip((nDCG @ 10, RR @ 10, R @ 1, R @ 10), ("ndcg@10", "mrr@10", "recall@1", "recall@10")))
        values = {name: np.full(q, np.nan) for name in self.meaning}
        names = [str(row) for row in range(m)]
        answerable = sorted(query for query, grades in task.relevance.items() if max(grades.values(), default=0) > 0)
        # distinct scores, as trec_eval breaks ties by name
        descending = np.arange(0.0, -ranking.rows.shape[1], -1).tolist()
        for start in range(0, len(answerable), _QUERY_BLOCK):
            qrels, run, top_ten_run = {}, {}, {}
            for query in answerable[start : start + _QUERY_BLOCK]:
                rows = [names[row] for row in ranking.rows[query].tolist() if row >= 0]
                grades = task.relevance[query].items()
                qrels[str(query)] = {names[row]: max(int(grade), 0) for row, grade in grades}
                run[str(query)] = dict(zip(rows, descending))
                top_ten_run[str(query)] = dict(zip(rows[:10], descending))  # faster: ir-measures sorts all it gets
            for measures, ranked in ((full_depth, run), (top_ten, top_ten_run)):
                for result in iter_calc(list(measures), qrels, ranked):
                    values[measures[result.measure]][int(result.query_id)] = result.value
        return values


def _checked(ranking: RankedDocuments | None, q: int, m: int) -> RankedDocuments:
    if ranking is None:
        raise InputError("retrieval: needs a ranking of the documents")
    if len(ranking.rows) != q:
        raise InputError(f"retrieval: the ranking has {len(ranking.rows)} queries, the task has {q}")
    if ranking.rows.shape[1] < min(100, m):
        raise InputError(f"retrieval: the ranking is {ranking.rows.shape[1]} deep; give {min(100, m)} or more results")
    if ranking.rows.size and ranking.rows.max() >= m:
        raise InputError(f"retrieval: the ranking has document {ranking.rows.max()}, the task only 0 to {m - 1}")
    return ranking
