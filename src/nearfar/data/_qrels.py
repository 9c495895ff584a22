"""Relevance judgements: query, document, grade."""

from __future__ import annotations

from typing import Any

from nearfar.column import chunks
from nearfar.data.table import Table
from nearfar.errors import InputError

Relevance = dict[int, dict[int, int]]


def judgements(qrels: Table, query_ids: list[str], document_ids: list[str]) -> tuple[Relevance, dict[str, Any]]:
    """Return the grades by position of query and document, of queries that have a relevant document, and counts.

    Errors: unknown queries or documents, with their number and the first; a grade that is no whole number; two grades
    for one pair.
    """
    grades = qrels.numbers("score")
    queries = _positions(qrels, "query-id", query_ids, "queries")
    documents = _positions(qrels, "corpus-id", document_ids, "documents")
    relevance: Relevance = {}
    for row, (query, document, grade) in enumerate(zip(queries, documents, grades)):
        if not float(grade).is_integer():
            raise InputError(
                f"{qrels.where(row)}, column 'score': {grade:g} is no whole number; grades are 0, 1, 2 ..."
            )
        if relevance.setdefault(query, {}).setdefault(document, int(grade)) != grade:
            raise InputError(
                f"{qrels.where(row)}: judges query {query_ids[query]!r} and document {document_ids[document]!r} again, "
                f"as {grade:g} after {relevance[query][document]}; keep one of the two rows"
            )
    scored = {query: judged for query, judged in relevance.items() if any(grade > 0 for grade in judged.values())}
    return scored, {
        "judgements": sum(map(len, scored.values())),
        "queries without judgements": len(query_ids) - len(relevance),
        "queries without a relevant document": len(relevance) - len(scored),
    }


def _positions(qrels: Table, name: str, ids: list[str], what: str) -> list[int]:
    """Return the position of each judgement's query or document."""
    known = {identity: position for position, identity in enumerate(ids)}
    found = [known.get(str(cell), -1) for cells in chunks(qrels.column(name)) for cell in cells]
    if -1 in found:
        row = found.index(-1)
        first = qrels.column(name).read(row, row + 1)[0]
        unknown = len({cell for cells in chunks(qrels.column(name)) for cell in cells if str(cell) not in known})
        raise InputError(
            f"{qrels.where(row)}, column {name!r}: {first!r} is unknown; {unknown} of the judged {what} are not among "
            f"the {len(ids)} there are. Use the same ids in both files"
        )
    return found
