"""A split as a retrieval task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Data
from nearfar.errors import InputError
from nearfar.positives._roles import Flat, Roles, pairs_of, sides
from nearfar.tasks import Retrieval


def retrieval(name: str, data: Data, roles: Roles, notes: Mapping[str, Any]) -> Retrieval:
    """Return distinct queries against distinct keys; every key that a query occurs with is relevant to it.

    Where one column is both, the first text of each row asks for the row's others, and the first ones are no documents.
    Queries of one cluster, or that share it through another query, are resampled together.
    """
    queries, keys = sides(data, roles)
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


def _first_asks(texts: Flat, examples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Ids]:
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
