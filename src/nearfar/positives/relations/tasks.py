"""Held-out splits as retrieval tasks: of pairs of columns, and of augmented views of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar import registry
from nearfar.abilities import pool_of
from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Data, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.positives.relations.augmented import AugmentedColumn
from nearfar.positives.relations.documents import Documents, JoinedColumn, SelectedCells, documents_column
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
    query, query_rows = _distinct(queries.column, examples[:, 1])  # only queries that have a key
    place, document_rows = _distinct(keys.column, documents)
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
        new = _distinct(column, new)[1]
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


def _distinct(column: Column, rows: Ids) -> tuple[Ids, Ids]:
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


def documents_to_judge(
    data: Data, split: str, column: str | None, chunk: int
) -> tuple[Documents, list[Documents], Documents | None]:
    """Return the documents of a split, those of the other rows that are ranked with them, and those of training.

    The last is None where they are the split's. Other rows without the column have no documents.
    """
    rows, train = judged_and_train(data, split)
    documents = Documents.of(rows, column, chunk)
    name = documents_column(rows, column)
    pool = [Documents.of(other, name, chunk) for other in pool_of(data, split) if name in other.columns and len(other)]
    return documents, pool, None if train is None else Documents.of(train, column, chunk)


def view_task(
    name: str,
    documents: Documents,
    query: StreamedAugmentation | None,
    rest: StreamedAugmentation | None = None,
    *,
    pool: Sequence[Documents] = (),
    train: Documents | None = None,
) -> Retrieval:
    """Return the task of finding each distinct document by its query view, augmented, always alike.

    Where the query is a part of a text, word for word, the document is the rest of the text: in the whole text, those
    words alone would find it. For crops of film reviews, BM25's MRR@10 is 1.00 on whole texts and 0.49 on the rest.
    Without a query view, the query is a crop (`text_crop`). rest: what makes the documents, where it is given.

    pool: further documents to rank, made in the same way, so that nothing but their contents tells them apart. train:
    the documents of training, which were seen; None where the task is of these themselves.

    Errors: `InputError` for no documents; for cells that are no text, without a query view: a cell finds itself.
    """
    sources, known = list[tuple[Documents, Ids]](), np.zeros(0, np.int64)
    for source in (documents, *pool):
        ids = content_ids(source.cells)
        first = _distinct(source.cells, np.flatnonzero(~np.isin(ids, known)))[1]
        sources.append((source, first))
        known = np.concatenate([known, ids[first]])  # (m,) of all documents at last
    first = sources[0][1]
    if (n := len(first)) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    if query is None and documents.are_texts:
        query = StreamedAugmentation(registry.build("augmentations", {"name": "text_crop"}), 0)
    elif query is None:
        raise InputError(
            "positives.views: without an augmentation a cell that is no text finds itself, which judges nothing; give "
            "a view one (positives.views.0.name=...), or a column of labels (positives.label) to judge by"
        )
    queries: Column = AugmentedColumn("query", documents.cells, first, known[:n], query)
    if documents.are_texts:
        queries = ListColumn("query", queries.read(0, n))
    cells = JoinedColumn("document", [_judged(source, rows, query, rest) for source, rows in sources])
    clusters = np.unique(documents.document_ids[first], return_inverse=True)[1]
    return Retrieval(
        name,
        queries,
        cells,
        [f"q{i}" for i in range(n)],
        [f"d{i}" for i in range(len(cells))],
        {i: {i: 1} for i in range(n)},
        clusters,
        {"queries": n, "documents": len(cells), "clusters": len(np.unique(clusters))},
        seen=None if train is None else np.isin(known, content_ids(train.cells)),
    )


def _judged(documents: Documents, rows: Ids, query: StreamedAugmentation, rest: StreamedAugmentation | None) -> Column:
    """Return some documents as a task ranks them, made whenever they are read."""
    ids = content_ids(documents.cells)[rows]
    if rest is not None:
        return AugmentedColumn("document", documents.cells, rows, ids, rest)
    selected = SelectedCells("document", documents.cells, rows)
    if not documents.are_texts:
        return selected
    return RestColumn("document", selected, AugmentedColumn("query", documents.cells, rows, ids, query))


@dataclass(frozen=True, eq=False)
class RestColumn:
    """A column of texts without their parts, a column of as many texts, cut whenever they are read."""

    name: str
    texts: Column
    parts: Column

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return texts `start` to `stop`, each without its part."""
        return [_rest(*pair) for pair in zip(self.texts.read(start, stop), self.parts.read(start, stop), strict=True)]


def _rest(text: str, part: str) -> str:
    """Return a text without a part of it; the whole text, where it lacks the part or the rest is shorter than that."""
    before, found, after = text.partition(part)
    rest = f"{before.rstrip()} {after.lstrip()}".strip()
    return rest if found and len(rest) >= len(part) else text
