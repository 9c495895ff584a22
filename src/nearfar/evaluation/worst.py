"""The worst queries of a ranking, for people to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.abilities import ARRAYS
from nearfar.column import Column, kind_of, take
from nearfar.contracts import RankedDocuments, Values
from nearfar.tasks import Retrieval

_WORST = 10  # queries shown as the worst
_EXPECTED, _RETRIEVED = 2, 3  # relevant and retrieved documents shown for each of them
_LONGEST = 300  # characters of a shown text


def worst_queries(task: Retrieval, ranking: RankedDocuments, values: Values) -> list[dict[str, Any]]:
    """Return the ten queries with the lowest values (q,), those whose first relevant document is deepest first.

    `rank` is that document's, from 1, or None where it lies beyond the ranking's depth.
    """
    ranks = np.array([_first_relevant(task, ranking, query) for query in range(len(values))])
    order = np.lexsort((-ranks, values))[:_WORST]
    return [_shown(task, ranking, query, float(values[query]), ranks[query]) for query in order.tolist()]


def _shown(task: Retrieval, ranking: RankedDocuments, query: int, value: float, rank: float) -> dict[str, Any]:
    """Return one query for a reader: its text, its best relevant documents and the first ones of its ranking."""
    grades = task.relevance[query]
    relevant = sorted((row for row, grade in grades.items() if grade > 0), key=lambda row: (-grades[row], row))
    expected = relevant[:_EXPECTED]
    top = zip(ranking.rows[query, :_RETRIEVED], ranking.scores[query, :_RETRIEVED])
    retrieved = [(int(row), score) for row, score in top if row >= 0]
    texts = _texts(task.documents, expected + [row for row, _ in retrieved])
    return {
        "query": _texts(task.queries, [query])[0],
        "value": value,
        "rank": int(rank) if np.isfinite(rank) else None,
        "expected": texts[: len(expected)],
        "found": [
            {"text": text, "score": float(score), "relevant": grades.get(row, 0) > 0}
            for text, (row, score) in zip(texts[len(expected) :], retrieved)
        ],
    }


def _first_relevant(task: Retrieval, ranking: RankedDocuments, query: int) -> float:
    """Return the rank of the query's first relevant document, from 1; infinity where the ranking has none."""
    relevant = [row for row, grade in task.relevance[query].items() if grade > 0]
    places = np.flatnonzero(np.isin(ranking.rows[query], relevant))
    return float(places[0] + 1) if len(places) else np.inf


def _texts(column: Column, rows: list[int]) -> list[str]:
    texts = [_text(cell) for cell in take(column, np.array(rows, np.int64))]
    return [text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…" for text in texts]


def _text(cell: Any) -> str:
    """Return a text, or what another cell is: "image (32, 32, 3)"."""
    return f"{kind_of(cell)} {np.shape(cell)}" if kind_of(cell) in ARRAYS else str(cell)
