"""The queries that a model answers worst, with what it found and what it should have found."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.column import Column, take
from nearfar.metrics._protocol import Values
from nearfar.tasks import Retrieval
from nearfar.topk import Ranking

_SHOWN = 10
_LONGEST = 300  # characters of a text


def worst(task: Retrieval, ranking: Ranking, values: Values) -> list[dict[str, Any]]:
    """Return the ten queries with the lowest values (q,), those whose first relevant document is deepest first.

    `rank` is that document's, from 1, or None where it lies beyond the ranking's depth.
    """
    deep = np.array([_first_relevant(task, ranking, query) for query in range(len(values))])
    order = np.lexsort((-deep, values))[:_SHOWN]
    rows = []
    for query in order.tolist():
        grades = task.relevance[query]
        best = sorted((row for row, grade in grades.items() if grade > 0), key=lambda row: (-grades[row], row))[:2]
        found = [
            (int(row), score) for row, score in zip(ranking.rows[query, :3], ranking.scores[query, :3]) if row >= 0
        ]
        texts = _texts(task.documents, best + [row for row, _ in found])
        rows.append(
            {
                "query": _texts(task.queries, [query])[0],
                "value": float(values[query]),
                "rank": int(deep[query]) if np.isfinite(deep[query]) else None,
                "expected": texts[: len(best)],
                "found": [
                    {"text": text, "score": float(score), "relevant": grades.get(row, 0) > 0}
                    for text, (row, score) in zip(texts[len(best) :], found)
                ],
            }
        )
    return rows


def _first_relevant(task: Retrieval, ranking: Ranking, query: int) -> float:
    relevant = [row for row, grade in task.relevance[query].items() if grade > 0]
    places = np.flatnonzero(np.isin(ranking.rows[query], relevant))
    return float(places[0] + 1) if len(places) else np.inf


def _texts(column: Column, rows: list[int]) -> list[str]:
    texts = [str(cell) for cell in take(column, np.array(rows, np.int64))]
    return [text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…" for text in texts]
