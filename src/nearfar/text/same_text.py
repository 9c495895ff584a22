"""Texts that are the same to a reader, and the documents that are a query's own text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.column import Column, chunks, column_kind, content_ids
from nearfar.content import canonical

# What a task's notes, and so its protocol, call the numbers of documents that are left out of a query's ranking.
NOT_RANKED = "documents that are their query, not ranked for it"
ANSWERS_ELSEWHERE = "documents that are answers in other splits, not ranked for their query"


def folded(text: str) -> str:
    """Return a text in the form in which it is compared with another: normal form C, without case, single spaces.

    folded(" Caf\\u00e9\\tSTAYS open") == folded("cafe\\u0301 stays  open")  # True

    When not to use it: on code, where case and white space have a meaning.
    """
    return canonical(" ".join(canonical(text).casefold().split()))


def own_documents(
    queries: Column, documents: Column, relevance: Mapping[int, Mapping[int, int]]
) -> dict[int, list[int]]:
    """Return for each query (q,) the documents (m,) that are the query itself and not judged relevant to it.

    Where a corpus holds its queries, as in ArguAna and Quora, every system would find the query first, and the answer
    second: BEIR (Thakur et al. 2021, arXiv:2104.08663) leaves that hit out. Texts are compared as `folded`, cells of
    other kinds by content.
    """
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(_keys(documents)):
        rows.setdefault(key, []).append(row)
    found: dict[int, list[int]] = {}
    for query, key in enumerate(_keys(queries)):
        judged = relevance.get(query, {})
        if own := [row for row in rows.get(key, []) if judged.get(row, 0) <= 0]:
            found[query] = own
    return found


def _keys(column: Column) -> list[Any]:
    if column_kind(column) == "text":
        return [folded(text) for texts in chunks(column) for text in texts]
    return list(content_ids(column).tolist())
