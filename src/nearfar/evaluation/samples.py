"""Sample searches: a few queries as they are answered, drawn by the seed and not picked for their success."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.column import column_kind
from nearfar.contracts import RankedDocuments
from nearfar.evaluation.worst import found, shown_rank, shown_texts
from nearfar.tasks import Retrieval

_SAMPLES = 3


def sample_searches(
    task: Retrieval, ranking: RankedDocuments, others: Mapping[str, RankedDocuments], seed: int
) -> list[dict[str, Any]]:
    """Return three searches of texts for a reader: {"query", "rank", "found", "others"}; [] for other cells.

    The queries are drawn by the seed alone. found: the model's first three documents with their cosines, each with
    whether it is relevant; others: by system, its first document, None where it finds none. rank: of the first relevant
    document in the model's ranking, from 1, None where there is none.

    When not to use it: to judge a model. Three queries are an impression.
    """
    if {column_kind(task.queries), column_kind(task.documents)} != {"text"}:
        return []
    n = len(task.queries)
    drawn = np.sort(np.random.default_rng(seed).choice(n, min(_SAMPLES, n), replace=False))
    return [
        {
            "query": shown_texts(task.queries, [query])[0],
            "rank": shown_rank(task, ranking, query),
            "found": found(task, ranking, query),
            "others": {name: next(iter(found(task, other, query, 1)), None) for name, other in others.items()},
        }
        for query in drawn.tolist()
    ]
