"""Does a ranking put the relevant documents first?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.vectors.topk import Ranking

_BLOCK = 500  # queries whose rankings are written out as dictionaries at a time


class Retrieval:
    """nDCG@10, MRR@10, MAP and Recall@1, 10 and 100 of each query, computed by ir-measures (trec_eval's definitions).

    nDCG uses the grade as the gain and log2(1 + rank) as the discount; for the others a document is relevant if its
    grade is above zero; MAP reads the ranking to its end. Source: Manning, Raghavan & Schuetze 2008, "Introduction to
    information retrieval", chapter 8; trec_eval's measures ndcg_cut_10, recip_rank, map and recall.

    Call: a task of q queries and its ranking (q, k) -> six arrays (q,), each within 0 to 1. A query without a relevant
    document is not judged: NaN. Documents that nobody judged count as not relevant.

    Errors: `InputError`: a ranking of other queries, of unknown documents, or with fewer than 100 results (where there
    are as many documents), from which recall@100 could not be told.

    When not to use it: the values depend on how many documents there are; never compare them across corpora.
    """

    meaning: ClassVar[dict[str, str]] = {
        "ndcg@10": "gain of the ten best, discounted by log2(1 + rank), over the most possible; grades are gains",
        "mrr@10": "1 / rank of the first relevant document, 0 where it is not among the ten best",
        "map": "mean over relevant documents of the precision at their rank, 0 for those beyond the depth",
        "recall@1": "share of the relevant documents that is the best one",
        "recall@10": "share of the relevant documents that is among the ten best",
        "recall@100": "share of the relevant documents that is among the hundred best",
    }

    def __call__(self, task: tasks.Retrieval, ranking: Ranking) -> dict[str, Values]:
        """Return the values of each query by metric, (q,)."""
        from ir_measures import AP, RR, R, iter_calc, nDCG  # loading it takes a moment

        q, m = len(task.queries), len(task.documents)
        _check(ranking, q, m)
        deep = dict(zip((AP, R @ 100), ("map", "recall@100")))
        top = dict(zip((nDCG @ 10, RR @ 10, R @ 1, R @ 10), ("ndcg@10", "mrr@10", "recall@1", "recall@10")))
        values = {name: np.full(q, np.nan) for name in self.meaning}
        names = [str(row) for row in range(m)]
        judged = sorted(query for query, grades in task.relevance.items() if max(grades.values(), default=0) > 0)
        falling = np.arange(0.0, -ranking.rows.shape[1], -1).tolist()  # distinct: trec_eval breaks ties by name
        for start in range(0, len(judged), _BLOCK):
            qrels, run, start_of_run = {}, {}, {}
            for query in judged[start : start + _BLOCK]:
                rows = [names[row] for row in ranking.rows[query].tolist() if row >= 0]
                grades = task.relevance[query].items()
                qrels[str(query)] = {names[row]: max(int(grade), 0) for row, grade in grades}
                run[str(query)] = dict(zip(rows, falling))
                start_of_run[str(query)] = dict(zip(rows[:10], falling))  # ir-measures sorts all it gets, for ten
            for measures, ranked in ((deep, run), (top, start_of_run)):
                for result in iter_calc(list(measures), qrels, ranked):
                    values[measures[result.measure]][int(result.query_id)] = result.value
        return values


def _check(ranking: Ranking, q: int, m: int) -> None:
    if len(ranking.rows) != q:
        raise InputError(f"retrieval: the ranking is of {len(ranking.rows)} queries, the task has {q}")
    if ranking.rows.shape[1] < min(100, m):
        raise InputError(f"retrieval: the ranking is {ranking.rows.shape[1]} deep; give {min(100, m)} or more results")
    if ranking.rows.size and ranking.rows.max() >= m:
        raise InputError(f"retrieval: the ranking has document {ranking.rows.max()}, the task only 0 to {m - 1}")
