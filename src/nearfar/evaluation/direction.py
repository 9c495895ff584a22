"""A task of retrieval in its other direction: documents that look for their queries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nearfar.tasks import Retrieval


def key_to_query(task: Retrieval) -> Retrieval:
    """Return the task in the other direction: its documents look for its queries, with the same relevance.

    A document that is relevant to no query becomes a query without a relevant document. Documents that are relevant to
    one query, or to queries of one cluster, are not independent of each other, so they share a cluster: five captions
    of a picture. Which documents training has seen is not kept.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    relevance = _inverted(task.relevance)
    excluded = _inverted({query: dict.fromkeys(of, 1) for query, of in task.excluded.items()})
    m, of_query = len(task.documents), np.unique(task.clusters, return_inverse=True)[1]
    pairs = [
        (row, m + of_query[query]) for row, judged in relevance.items() for query, grade in judged.items() if grade > 0
    ]
    size = m + int(of_query.max()) + 1
    rows, columns = np.array(pairs, np.int64).T
    together = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(size, size))
    return Retrieval(
        f"{task.name}, key-to-query",
        task.documents,
        task.queries,
        task.document_ids,
        task.query_ids,
        relevance,
        connected_components(together, directed=False)[1][:m].astype(np.int64),
        task.notes,
        {row: list(queries) for row, queries in excluded.items()},
    )


def _inverted(judged: Mapping[int, Mapping[int, int]]) -> dict[int, dict[int, int]]:
    """Return for each document the queries that it is judged for, with the grades."""
    found: dict[int, dict[int, int]] = {}
    for query, documents in judged.items():
        for row, grade in documents.items():
            found.setdefault(row, {})[query] = grade
    return found
