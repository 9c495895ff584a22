"""The worst queries of a ranking, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.abilities import ARRAYS
from nearfar.column import Column, Ids, kind_of, take
from nearfar.contracts import RankedDocuments, Values
from nearfar.tasks import Retrieval

_WORST = 10  # queries shown as the worst
_EXPECTED, _RETRIEVED = 2, 3  # relevant and retrieved documents shown for each of them
_LONGEST = 300  # characters of a shown text


def wrong_queries(task: Retrieval, ranking: RankedDocuments) -> Ids:
    """Return the queries whose first document is not a relevant one, in order."""
    firsts = ranking.rows[:, 0].tolist()
    return np.array([query for query, row in enumerate(firsts) if task.relevance[query].get(row, 0) <= 0], np.int64)


def worst_queries(task: Retrieval, ranking: RankedDocuments, values: Values) -> list[dict[str, Any]]:
    """Return the ten worst of the wrong queries, those with the lowest values (q,): the deepest right answer first.

    A query whose first document is relevant has not failed and is never among them, so there may be fewer than ten.
    `rank` is that of the first relevant document, from 1, or None where it lies beyond the ranking's depth.
    """
    wrong = wrong_queries(task, ranking)
    ranks = np.array([first_relevant(task, ranking, query) for query in wrong.tolist()])
    order = np.lexsort((-ranks, values[wrong]))[:_WORST]
    return [_shown(task, ranking, query, float(values[query])) for query in wrong[order].tolist()]


def _shown(task: Retrieval, ranking: RankedDocuments, query: int, value: float) -> dict[str, Any]:
    """Return one query for a reader: its text, its best relevant documents and the first ones of its ranking."""
    grades = task.relevance[query]
    relevant = sorted((row for row, grade in grades.items() if grade > 0), key=lambda row: (-grades[row], row))
    expected = relevant[:_EXPECTED]
    return {
        "query": shown_texts(task.queries, [query])[0],
        "value": value,
        "rank": shown_rank(task, ranking, query),
        "expected": shown_texts(task.documents, expected),
        "found": found(task, ranking, query),
    }


def found(task: Retrieval, ranking: RankedDocuments, query: int, most: int = _RETRIEVED) -> list[dict[str, Any]]:
    """Return the first documents of a query's ranking for a reader: {"text", "score", "relevant"}."""
    grades = task.relevance[query]
    top = zip(ranking.rows[query, :most], ranking.scores[query, :most])
    retrieved = [(int(row), float(score)) for row, score in top if row >= 0]
    texts = shown_texts(task.documents, [row for row, _ in retrieved])
    return [
        {"text": text, "score": score, "relevant": grades.get(row, 0) > 0}
        for text, (row, score) in zip(texts, retrieved)
    ]


def shown_rank(task: Retrieval, ranking: RankedDocuments, query: int) -> int | None:
    """Return the rank of the query's first relevant document, from 1; None where the ranking has none."""
    rank = first_relevant(task, ranking, query)
    return int(rank) if np.isfinite(rank) else None


def first_relevant(task: Retrieval, ranking: RankedDocuments, query: int) -> float:
    """Return the rank of the query's first relevant document, from 1; infinity where the ranking has none."""
    relevant = [row for row, grade in task.relevance[query].items() if grade > 0]
    places = np.flatnonzero(np.isin(ranking.rows[query], relevant))
    return float(places[0] + 1) if len(places) else np.inf


def shown_texts(column: Column, rows: Sequence[int], longest: int = _LONGEST) -> list[str]:
    """Return the cells of some rows as texts of at most so many characters; what is no text as what it is."""
    texts = [_text(cell) for cell in take(column, np.array(rows, np.int64))]
    return [text if len(text) <= longest else text[: longest - 1].rstrip() + "…" for text in texts]


def _text(cell: Any) -> str:
    """Return a text, or what another cell is: "image (32, 32, 3)"."""
    return f"{kind_of(cell)} {np.shape(cell)}" if kind_of(cell) in ARRAYS else str(cell)
