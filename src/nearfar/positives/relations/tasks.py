"""Held-out splits as retrieval tasks: of pairs of columns, and of augmented views of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar import registry
from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Data, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.positives.relations.augmented import AugmentedColumn, augment_fixed
from nearfar.positives.relations.documents import Documents, SelectedCells
from nearfar.positives.relations.roles import FlatCells, Roles, pairs_of, side_cells
from nearfar.tasks import Retrieval
from nearfar.text.same_text import NOT_RANKED, own_documents


def retrieval(name: str, data: Data, pool: Data | None, roles: Roles, notes: Mapping[str, Any]) -> Retrieval:
    """Return the task with distinct queries and distinct keys, in which every key that a query occurs with is relevant.

    pool: rows whose keys are documents, too; None for those of `data` alone. Where one column holds both, the first
    text of each row is the query, and the others are its documents. Queries of one cluster, also through a chain of
    other queries, are resampled together. A document that is the query itself is not ranked for it, unless it is
    relevant; the notes count these.
    """
    queries, keys = side_cells(data, roles)
    examples, documents = pairs_of(queries, keys), np.arange(len(keys.column))
    if queries is keys:
        examples, documents = _first_texts_as_queries(queries, examples)
    if len(examples) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    query, query_texts = _distinct(queries.column, examples[:, 1])  # only queries that have a key
    place, document_texts = _distinct(keys.column, documents)
    document = place[np.searchsorted(documents, examples[:, 2])]
    if pool is not None:
        document_texts += _further(document_texts, pool, roles)
    relevance: dict[int, dict[int, int]] = {}
    for q, d in zip(query.tolist(), document.tolist()):
        relevance.setdefault(q, {})[d] = 1
    excluded = own_documents(query_texts, document_texts, relevance)
    clusters = np.arange(len(query_texts))
    if roles.cluster is not None:
        row_cluster = np.unique(content_ids(data.column(roles.cluster)), return_inverse=True)[1]
        clusters = _connected(query, row_cluster[examples[:, 0]], len(query_texts))
    sizes = {"queries": len(query_texts), "documents": len(document_texts), "clusters": len(np.unique(clusters))}
    if excluded:
        sizes[NOT_RANKED] = sum(map(len, excluded.values()))
    return Retrieval(
        name,
        ListColumn(roles.query, query_texts),
        ListColumn(roles.key, document_texts),
        [f"q{i}" for i in range(len(query_texts))],
        [f"d{i}" for i in range(len(document_texts))],
        relevance,
        clusters,
        {**sizes, "split": dict(notes)},
        excluded,
    )


def _further(texts: list[Any], pool: Data, roles: Roles) -> list[Any]:
    """Return the distinct documents of the pool that are not among `texts`, in order of appearance."""
    queries, keys = side_cells(pool, roles)
    documents = _first_texts_as_queries(queries, pairs_of(queries, keys))[1] if queries is keys else None
    rows = np.arange(len(keys.column)) if documents is None else documents
    known = content_ids(ListColumn(roles.key, texts))
    return _distinct(keys.column, rows[~np.isin(content_ids(keys.column)[rows], known)])[1]


def _first_texts_as_queries(texts: FlatCells, examples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Ids]:
    """Return the examples whose query is its row's first text, and the cells of all texts that come after a first."""
    is_query = np.zeros(len(texts.column), np.bool_)
    is_query[texts.offsets[:-1][np.diff(texts.offsets) > 0]] = True
    return examples[is_query[examples[:, 1]]], np.flatnonzero(~is_query)


def _distinct(column: Column, rows: Ids) -> tuple[Ids, list[Any]]:
    """Return the places of some rows' cells among the distinct cells, and the distinct cells in order of appearance."""
    _, first, inverse = np.unique(content_ids(column)[rows], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse], take(column, rows[np.sort(first)])


def _connected(query: Ids, cluster: Ids, n: int) -> Ids:
    """Return the connected component (n,) of each query, where queries of one cluster are connected."""
    m = int(cluster.max()) + 1
    graph = coo_array((np.ones(len(query)), (query, n + cluster)), shape=(n + m, n + m))
    labels: Ids = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    return labels


def view_task(
    name: str, documents: Documents, query: StreamedAugmentation | None, rest: StreamedAugmentation | None = None
) -> Retrieval:
    """Return the task of finding each distinct document by its query view, augmented, always alike.

    Where the query is a part of a text, word for word, the document is the rest of the text: in the whole text, those
    words alone would find it. For crops of film reviews, BM25's MRR@10 is 1.00 on whole texts and 0.49 on the rest.
    Without a query view, the query is a crop (`text_crop`). rest: what makes the documents, where it is given.

    Errors: `InputError` for no documents; for cells that are no text, without a query view: a cell finds itself.
    """
    all_ids = content_ids(documents.cells)
    first = np.sort(np.unique(all_ids, return_index=True)[1])
    if len(first) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    ids = all_ids[first]
    queries, texts = (_text_task if documents.are_texts else _cell_task)(documents, first, ids, query, rest)
    clusters = np.unique(documents.document_ids[first], return_inverse=True)[1]
    empty = {"empty documents, left out": documents.empty} if documents.empty else {}
    return Retrieval(
        name,
        queries,
        texts,
        [f"q{i}" for i in range(len(first))],
        [f"d{i}" for i in range(len(first))],
        {i: {i: 1} for i in range(len(first))},
        clusters,
        {"queries": len(first), "documents": len(first), "clusters": len(np.unique(clusters)), **empty},
    )


def _text_task(
    documents: Documents, first: Ids, ids: Ids, query: StreamedAugmentation | None, rest: StreamedAugmentation | None
) -> tuple[Column, Column]:
    """Return the queries and the documents of a task on texts."""
    query = query or StreamedAugmentation(registry.build("augmentations", {"name": "text_crop"}), 0)
    cells, rows = take(documents.cells, first), documents.row[first]
    queries = augment_fixed(query, cells, ids, "query", rows)
    if rest is None:
        texts = [_rest(text, part) for text, part in zip(cells, queries, strict=True)]
    else:
        texts = augment_fixed(rest, cells, ids, "key", rows)
    return ListColumn("query", queries), ListColumn("document", texts)


def _cell_task(
    documents: Documents, first: Ids, ids: Ids, query: StreamedAugmentation | None, rest: StreamedAugmentation | None
) -> tuple[Column, Column]:
    """Return the queries and the documents of a task on cells that are no texts, made whenever they are read."""
    if query is None:
        raise InputError(
            "positives.views: without an augmentation a cell that is no text finds itself, which judges nothing; give "
            "a view one (positives.views.0.name=...), or a column of labels (positives.label) to judge by"
        )
    queries = AugmentedColumn("query", documents.cells, first, ids, query)
    if rest is None:
        return queries, SelectedCells("document", documents.cells, first)
    return queries, AugmentedColumn("document", documents.cells, first, ids, rest)


def _rest(text: str, part: str) -> str:
    """Return a text without a part of it; the whole text, where it lacks the part or the rest is shorter than that."""
    before, found, after = text.partition(part)
    rest = f"{before.rstrip()} {after.lstrip()}".strip()
    return rest if found and len(rest) >= len(part) else text
