"""Held-out splits as retrieval tasks: of pairs of columns, and of augmented views of documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar.column import Column, Ids, ListColumn, content_ids, distinct_rows, take
from nearfar.contracts import Data
from nearfar.errors import InputError
from nearfar.positives.relations.documents import SelectedCells, spread
from nearfar.positives.relations.roles import FlatCells, Roles, flatten, pairs_of, side_cells
from nearfar.tasks import Retrieval
from nearfar.text.same_text import ANSWERS_ELSEWHERE, NOT_RANKED, own_documents


def retrieval(
    name: str, data: Data, roles: Roles, *, pool: Sequence[Data] = (), train: Data | None = None
) -> Retrieval:
    """Return the task with distinct queries and distinct keys, in which every key that a query occurs with is relevant.

    Where one column holds both, the first text of each row is the query, and the others are its documents. Queries of
    one cluster, also through a chain of other queries, are resampled together. Not ranked for a query, and counted in
    the notes, are the query itself, unless it is relevant, and what other rows of the pool call its answers (the
    filtered setting of Bordes et al. 2013, "Translating embeddings for modeling multi-relational data").

    pool: rows whose keys are documents, too, spread evenly among those of `data`; rows without that column have none.
    train: the training rows, whose texts were seen; None where the task is of these rows themselves.
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
    others = [_PoolRows.of(rows, roles) for rows in pool if roles.key in rows.columns and len(rows)]
    sources = [(keys.column, document_rows), *((other.keys, other.documents) for other in others)]
    texts, place = spread(_distinct_documents(sources, roles.key), roles.key)
    relevance: dict[int, dict[int, int]] = {}
    for q, d in zip(query.tolist(), place[document].tolist()):
        relevance.setdefault(q, {})[d] = 1
    query_texts = ListColumn(roles.query, take(queries.column, query_rows))
    excluded = own_documents(query_texts, texts, relevance)
    not_ranked = {NOT_RANKED: sum(map(len, excluded.values()))}
    answers = _answers(content_ids(query_texts), content_ids(texts), [other.pairs for other in others], relevance)
    not_ranked[ANSWERS_ELSEWHERE] = sum(map(len, answers.values()))
    excluded |= {q: sorted({*excluded.get(q, []), *found}) for q, found in answers.items()}
    clusters = np.arange(len(query_rows))
    if roles.cluster is not None:
        row_cluster = np.unique(content_ids(data.column(roles.cluster)), return_inverse=True)[1]
        clusters = _connected(query, row_cluster[examples[:, 0]], len(query_rows))
    sizes = {"queries": len(query_rows), "documents": len(texts), "clusters": len(np.unique(clusters))}
    sizes |= {what: count for what, count in not_ranked.items() if count}
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


@dataclass(frozen=True)
class _PoolRows:
    """Further rows: their keys, which of these cells are documents, and the content ids (e, 2) of query and key."""

    keys: Column
    documents: Ids
    pairs: Ids

    @classmethod
    def of(cls, rows: Data, roles: Roles) -> Self:
        keys, pairs = flatten(rows, roles.key), np.empty((0, 2), np.int64)
        if roles.query == roles.key:
            examples, documents = _first_texts_as_queries(keys, pairs_of(keys, keys))
            ids = content_ids(keys.column)
            return cls(keys.column, documents, np.stack([ids[examples[:, 1]], ids[examples[:, 2]]], 1))
        if roles.query in rows.columns:
            with suppress(InputError):  # documents without a query
                queries = flatten(rows, roles.query)
                examples = pairs_of(queries, keys)
                of_query, of_key = content_ids(queries.column), content_ids(keys.column)
                pairs = np.stack([of_query[examples[:, 1]], of_key[examples[:, 2]]], 1)
        return cls(keys.column, np.arange(len(keys.column)), pairs)


def _answers(
    queries: Ids, documents: Ids, pairs: Sequence[Ids], relevance: dict[int, dict[int, int]]
) -> dict[int, list[int]]:
    """Return for each query (q,) the documents (m,) that other rows (e, 2) pair it with and that are not relevant."""
    known = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    known = known[np.isin(known[:, 0], queries)]
    of_query, of_document = np.argsort(queries), np.argsort(documents)
    query = of_query[np.searchsorted(queries, known[:, 0], sorter=of_query)]
    document = of_document[np.searchsorted(documents, known[:, 1], sorter=of_document)]
    found: dict[int, list[int]] = {}
    for q, d in zip(query.tolist(), document.tolist()):
        if d not in relevance[q]:
            found.setdefault(q, []).append(d)
    return found


def _distinct_documents(sources: Sequence[tuple[Column, Ids]], name: str) -> list[Column]:
    """Return the cells of some rows of several columns, each content once, in order of appearance."""
    known, columns = np.zeros(0, np.int64), list[Column]()
    for column, rows in sources:
        new = rows[~np.isin(content_ids(column)[rows], known)]
        new = distinct(column, new)[1]
        columns.append(SelectedCells(name, column, new))
        known = np.concatenate([known, content_ids(column)[new]])
    return columns


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
    first, place = distinct_rows(content_ids(column)[rows])
    return place, rows[first]


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
