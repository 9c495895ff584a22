"""A split as a retrieval task."""

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

FIXED = 20_040  # seeds the looks that never change


def retrieval(name: str, data: Data, roles: Roles, notes: Mapping[str, Any]) -> Retrieval:
    """Return distinct queries against distinct keys; every key that a query occurs with is relevant to it.

    Where one column is both, the first text of each row asks for the row's others, and the first ones are no documents.
    Queries of one cluster, or that share it through another query, are resampled together.
    """
    queries, keys = side_cells(data, roles)
    examples, answering = pairs_of(queries, keys), np.arange(len(keys.column))
    if queries is keys:
        examples, answering = _first_asks(queries, examples)
    if len(examples) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    query, asked = _distinct(queries.column, examples[:, 1])  # only those that have a key
    place, answers = _distinct(keys.column, answering)
    key = place[np.searchsorted(answering, examples[:, 2])]
    relevance: dict[int, dict[int, int]] = {}
    for q, k in zip(query.tolist(), key.tolist()):
        relevance.setdefault(q, {})[k] = 1
    clusters = np.arange(len(asked))
    if roles.cluster is not None:
        row_cluster = np.unique(content_ids(data.column(roles.cluster)), return_inverse=True)[1]
        clusters = _connected(query, row_cluster[examples[:, 0]], len(asked))
    sizes = {"queries": len(asked), "documents": len(answers), "clusters": len(np.unique(clusters))}
    return Retrieval(
        name,
        ListColumn(roles.query, asked),
        ListColumn(roles.key, answers),
        [f"q{i}" for i in range(len(asked))],
        [f"d{i}" for i in range(len(answers))],
        relevance,
        clusters,
        {**sizes, "split": dict(notes)},
    )


def _first_asks(texts: FlatCells, examples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Ids]:
    """Return the examples whose query is its row's first text, and the cells of all texts that never ask."""
    ids = content_ids(texts.column)
    asking = np.unique(ids[texts.offsets[:-1][np.diff(texts.offsets) > 0]])
    first = examples[examples[:, 1] == texts.offsets[examples[:, 0]]]
    answering = ~np.isin(ids, asking)
    return first[answering[first[:, 2]]], np.flatnonzero(answering)


def _distinct(column: Column, rows: Ids) -> tuple[Ids, list[Any]]:
    """Return the place of some rows' cells among the distinct ones, and those, in order of appearance."""
    _, first, inverse = np.unique(content_ids(column)[rows], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse], take(column, rows[np.sort(first)])


def _connected(query: Ids, cluster: Ids, n: int) -> Ids:
    m = int(cluster.max()) + 1
    graph = coo_array((np.ones(len(query)), (query, n + cluster)), shape=(n + m, n + m))
    labels: Ids = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    return labels


def augmented_views(query: Augmentation | None, key: Augmentation | None) -> dict[str, AugmentedView]:
    """Return each side's view; one with a `rest` makes both sides, out of the same random numbers."""
    rest = getattr(query, "rest", None)
    if query is not None and rest is not None:
        if key is not None:
            raise InputError(
                f"positives.views: query {registry.name_of(type(query))} makes the key, too: the rest of the document; "
                "leave key out"
            )
        return {"query": AugmentedView(query, 0), "key": AugmentedView(cast("Augmentation", rest), 0)}
    sides = [("query", query), ("key", key)]
    return {side: AugmentedView(view, stream) for stream, (side, view) in enumerate(sides) if view is not None}


def augmentation_settings(augmentations: Mapping[str, AugmentedView]) -> list[Any]:
    """Return names and settings of views, for the fingerprint."""
    found: list[Any] = []
    for side, augmentation in sorted(augmentations.items()):
        part = getattr(augmentation.view, "__self__", augmentation.view)  # of a method: its object
        found.append([side, augmentation.stream, str(registry.settings_of(part))])
    return found


def augment_fixed(augmentation: AugmentedView | None, texts: Sequence[str], ids: Ids) -> list[str]:
    """Return a fixed look at each text, drawn by its content id (n,); the texts themselves without a view."""
    if augmentation is None:
        return list(texts)
    seeds = ids.view(np.uint64).tolist()
    draws = (np.random.default_rng([FIXED, seed, augmentation.stream]) for seed in seeds)
    return [augmentation.view(text, draw) for text, draw in zip(texts, draws, strict=True)]


def view_task(name: str, documents: Documents, augmentations: Mapping[str, AugmentedView]) -> Retrieval:
    """Return the task of finding what a fixed look leaves of each distinct document, or the document.

    Where the look is a part of the text, word for word, the whole text would be found by those words alone: of film
    reviews BM25 finds all by a crop (MRR@10 1.00), and half of what the crops leave (0.49).
    """
    all_ids = content_ids(documents.texts)
    first = np.sort(np.unique(all_ids, return_index=True)[1])
    if len(first) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    texts, ids = take(documents.texts, first), all_ids[first]
    query = augmentations.get("query")
    paired = query is not None and "key" in augmentations and hasattr(query.view, "rest")
    if query is None:
        query = AugmentedView(registry.build("augmentations", {"name": "text_crop"}), 0)
    asked = augment_fixed(query, texts, ids)
    answers = [_rest(text, look) for text, look in zip(texts, asked, strict=True)]
    if paired:
        answers = augment_fixed(augmentations["key"], texts, ids)
    clusters = np.unique(documents.document[first], return_inverse=True)[1]
    return Retrieval(
        name,
        ListColumn("query", asked),
        ListColumn("document", answers),
        [f"q{i}" for i in range(len(first))],
        [f"d{i}" for i in range(len(first))],
        {i: {i: 1} for i in range(len(first))},
        clusters,
        {"queries": len(first), "documents": len(first), "clusters": len(np.unique(clusters))},
    )


def _rest(text: str, look: str) -> str:
    """Return a text without a part of it; the text itself, where the look is no part, or leaves less than it takes."""
    before, found, after = text.partition(look)
    left = f"{before.rstrip()} {after.lstrip()}".strip()
    return left if found and len(left) >= len(look) else text
