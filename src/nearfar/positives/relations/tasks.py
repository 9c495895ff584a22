"""Held-out splits as retrieval tasks: of pairs of columns, and of augmented views of documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Data
from nearfar.errors import InputError
from nearfar.positives.relations.documents import JoinedColumn, SelectedCells
from nearfar.positives.relations.roles import FlatCells, Roles, flatten, pairs_of, side_cells
from nearfar.tasks import Retrieval
from nearfar.text.same_text import NOT_RANKED, own_documents


def retrieval(
    name: str, data: Data, roles: Roles, *, pool: Sequence[Data] = (), train: Data | None = None
) -> Retrieval:
    """Return the task with distinct queries and distinct keys, in which every key that a query occurs with is relevant.

    Where one column holds both, the first text of each row is the query, and the others are its documents. Queries of
    one cluster, also through a chain of other queries, are resampled together. A document that is the query itself is
    not ranked for it, unless it is relevant; the notes count these.

    pool: rows whose keys are documents, too, after those of `data`; rows without that column have none. train: the
    training rows, whose texts were seen; None where the task is of these rows themselves.
    """
    queries, keys = side_cells(data, roles)
    examples, documents = pairs_of(queries, keys), np.arange(len(keys.column))
    if queries is keys:
        examples, documents = _first_texts_as_queries(queries, examples)
    if len(examples) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    query, query_rows = distinct(queries.column, examples[:, 1])  # only queries that have a key
    place, document_rows = distinct(keys.column, documents)
    document = place[np.searchsorted(documents, examples[:, 2])]
    texts = _distinct_documents([(keys.column, document_rows), *_keys_of(pool, roles)], roles.key)
    relevance: dict[int, dict[int, int]] = {}
    for q, d in zip(query.tolist(), document.tolist()):
        relevance.setdefault(q, {})[d] = 1
    query_texts = ListColumn(roles.query, take(queries.column, query_rows))
    excluded = own_documents(query_texts, texts, relevance)
    clusters = np.arange(len(query_rows))
    if roles.cluster is not None:
        row_cluster = np.unique(content_ids(data.column(roles.cluster)), return_inverse=True)[1]
        clusters = _connected(query, row_cluster[examples[:, 0]], len(query_rows))
    sizes = {"queries": len(query_rows), "documents": len(texts), "clusters": len(np.unique(clusters))}
    if excluded:
        sizes[NOT_RANKED] = sum(map(len, excluded.values()))
    return Retrieval(
        name,
        query_texts,
        texts,
        [f"q{i}" for i in range(len(query_rows))],
        [f"d{i}" for i in range(len(texts))],
        relevance,
        clusters,
        sizes,
        excluded,
        seen=None if train is None else np.isin(content_ids(texts), _text_ids(train, roles)),
    )


def _keys_of(pool: Sequence[Data], roles: Roles) -> list[tuple[Column, Ids]]:
    """Return the column of keys of further rows, and which of its cells are documents."""
    found = []
    for rows in pool:
        if {roles.query, roles.key} <= set(rows.columns) and len(rows):
            queries, keys = side_cells(rows, roles)
            single = queries is keys
            cells = _first_texts_as_queries(queries, pairs_of(queries, keys))[1] if single else None
            found.append((keys.column, np.arange(len(keys.column)) if cells is None else cells))
    return found


def _distinct_documents(sources: Sequence[tuple[Column, Ids]], name: str) -> Column:
    """Return the cells of some rows of several columns, each content once, in order of appearance."""
    known, columns = np.zeros(0, np.int64), list[Column]()
    for column, rows in sources:
        new = rows[~np.isin(content_ids(column)[rows], known)]
        new = distinct(column, new)[1]
        columns.append(SelectedCells(name, column, new))
        known = np.concatenate([known, content_ids(column)[new]])
    return JoinedColumn(name, columns)


def _text_ids(data: Data, roles: Roles) -> Ids:
    """Return the content ids of all texts that training reads of some rows."""
    names = dict.fromkeys([roles.query, roles.key, *roles.negatives])
    return np.concatenate([content_ids(flatten(data, name).column) for name in names])


def _first_texts_as_queries(texts: FlatCells, examples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Ids]:
    """Return the examples whose query is its row's first text, and the cells of all texts that come after a first."""
    is_query = np.zeros(len(texts.column), np.bool_)
    is_query[texts.offsets[:-1][np.diff(texts.offsets) > 0]] = True
    return examples[is_query[examples[:, 1]]], np.flatnonzero(~is_query)


def distinct(column: Column, rows: Ids) -> tuple[Ids, Ids]:
    """Return the places of some rows' cells among the distinct cells, and the first row of each of these."""
    _, first, inverse = np.unique(content_ids(column)[rows], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse], rows[np.sort(first)]


def _connected(query: Ids, cluster: Ids, n: int) -> Ids:
    """Return the connected component (n,) of each query, where queries of one cluster are connected."""
    m = int(cluster.max()) + 1
    graph = coo_array((np.ones(len(query)), (query, n + cluster)), shape=(n + m, n + m))
    labels: Ids = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    return labels


def judged_and_train(data: Data, split: str) -> tuple[Data, Data | None]:
    """Return the rows of a split, and the training rows; None for these where they are the split."""
    rows = data.split(split)
    return rows, None if rows.fingerprint == data.fingerprint else data
