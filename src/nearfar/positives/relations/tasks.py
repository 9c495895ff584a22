"""Held-out splits as retrieval tasks: of pairs of columns, and of augmented views of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar import registry
from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Augmentation, AugmentedView, Data
from nearfar.errors import InputError
from nearfar.positives.relations.documents import Documents
from nearfar.positives.relations.roles import FlatCells, Roles, pairs_of, side_cells
from nearfar.tasks import Retrieval

TASK_SEED = 20_040  # of the augmentations of tasks, which never change


def retrieval(name: str, data: Data, roles: Roles, notes: Mapping[str, Any]) -> Retrieval:
    """Return the task with distinct queries and distinct keys, in which every key that a query occurs with is relevant.

    Where one column holds both, the first text of each row is the query, and the others are its documents. Queries of
    one cluster, also through a chain of other queries, are resampled together.
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
    relevance: dict[int, dict[int, int]] = {}
    for q, d in zip(query.tolist(), document.tolist()):
        relevance.setdefault(q, {})[d] = 1
    clusters = np.arange(len(query_texts))
    if roles.cluster is not None:
        row_cluster = np.unique(content_ids(data.column(roles.cluster)), return_inverse=True)[1]
        clusters = _connected(query, row_cluster[examples[:, 0]], len(query_texts))
    sizes = {"queries": len(query_texts), "documents": len(document_texts), "clusters": len(np.unique(clusters))}
    return Retrieval(
        name,
        ListColumn(roles.query, query_texts),
        ListColumn(roles.key, document_texts),
        [f"q{i}" for i in range(len(query_texts))],
        [f"d{i}" for i in range(len(document_texts))],
        relevance,
        clusters,
        {**sizes, "split": dict(notes)},
    )


def _first_texts_as_queries(texts: FlatCells, examples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Ids]:
    """Return the examples whose query is its row's first text, and the cells of all texts that are no query."""
    ids = content_ids(texts.column)
    query_ids = np.unique(ids[texts.offsets[:-1][np.diff(texts.offsets) > 0]])
    first = examples[examples[:, 1] == texts.offsets[examples[:, 0]]]
    is_document = ~np.isin(ids, query_ids)
    return first[is_document[first[:, 2]]], np.flatnonzero(is_document)


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


def augmented_views(query: Augmentation | None, key: Augmentation | None) -> dict[str, AugmentedView]:
    """Return the augmentation of each view; one with a `rest` makes both, from the same random numbers.

    Errors: `InputError` for a key augmentation beside a query augmentation that makes both.
    """
    rest = getattr(query, "rest", None)
    if query is not None and rest is not None:
        if key is not None:
            raise InputError(
                f"positives.views: query {registry.name_of(type(query))} makes the key, too: the rest of the document; "
                "leave key out"
            )
        return {"query": AugmentedView(query, 0), "key": AugmentedView(cast("Augmentation", rest), 0)}
    given = [("query", query), ("key", key)]
    return {view: AugmentedView(each, stream) for stream, (view, each) in enumerate(given) if each is not None}


def augmentation_settings(augmentations: Mapping[str, AugmentedView]) -> list[Any]:
    """Return the view, stream and settings of each augmentation, for the fingerprint."""
    result: list[Any] = []
    for view, augmented in sorted(augmentations.items()):
        part = getattr(augmented.augmentation, "__self__", augmented.augmentation)  # of a method: its object
        result.append([view, augmented.stream, str(registry.settings_of(part))])
    return result


def augment_fixed(view: AugmentedView | None, texts: Sequence[str], ids: Ids) -> list[str]:
    """Return each text augmented, seeded by its content id (n,); without an augmentation, the texts themselves."""
    if view is None:
        return list(texts)
    seeds = ids.view(np.uint64).tolist()
    generators = (np.random.default_rng([TASK_SEED, seed, view.stream]) for seed in seeds)
    return [view.augmentation(text, generator) for text, generator in zip(texts, generators, strict=True)]


def view_task(name: str, documents: Documents, augmentations: Mapping[str, AugmentedView]) -> Retrieval:
    """Return the task of finding each distinct document from its augmented query view.

    Where the query is a part of the text, word for word, the document is the rest of the text: in the whole text, those
    words alone would find it. For crops of film reviews, BM25's MRR@10 is 1.00 on whole texts and 0.49 on the rest.
    """
    all_ids = content_ids(documents.texts)
    first = np.sort(np.unique(all_ids, return_index=True)[1])
    if len(first) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    texts, ids = take(documents.texts, first), all_ids[first]
    query = augmentations.get("query")
    paired = query is not None and "key" in augmentations and hasattr(query.augmentation, "rest")
    if query is None:
        query = AugmentedView(registry.build("augmentations", {"name": "text_crop"}), 0)
    query_texts = augment_fixed(query, texts, ids)
    document_texts = [_rest(text, part) for text, part in zip(texts, query_texts, strict=True)]
    if paired:
        document_texts = augment_fixed(augmentations["key"], texts, ids)
    clusters = np.unique(documents.document_ids[first], return_inverse=True)[1]
    return Retrieval(
        name,
        ListColumn("query", query_texts),
        ListColumn("document", document_texts),
        [f"q{i}" for i in range(len(first))],
        [f"d{i}" for i in range(len(first))],
        {i: {i: 1} for i in range(len(first))},
        clusters,
        {"queries": len(first), "documents": len(first), "clusters": len(np.unique(clusters))},
    )


def _rest(text: str, part: str) -> str:
    """Return a text without a part of it; the whole text, where it lacks the part or the rest is shorter than that."""
    before, found, after = text.partition(part)
    rest = f"{before.rstrip()} {after.lstrip()}".strip()
    return rest if found and len(rest) >= len(part) else text
