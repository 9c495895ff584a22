"""Which pairs and rows hang together: those that share a text, directly or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar.column import Column, Ids, content_ids


def pair_clusters(first: Column, second: Column) -> Ids:
    """Return the connected component of each pair, (n,), in the graph whose edges join a pair's two texts."""
    ids = np.concatenate([content_ids(first), content_ids(second)])  # (2n,)
    texts, nodes = np.unique(ids, return_inverse=True)  # (2n,)
    left, right = np.split(nodes, 2)  # (n,) each
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(texts), len(texts)))
    component = connected_components(graph, directed=False)[1]
    clusters: Ids = np.unique(component[left], return_inverse=True)[1].astype(np.int64)
    return clusters


def row_groups(ids: Sequence[Ids], rows: Sequence[Ids], n: int) -> Ids:
    """Return the connected component of each of n rows, (n,), where rows that share a text of any column are joined.

    ids, rows: for each column, the content ids of its texts (t,) and the row of each (t,).
    """
    texts, nodes = np.unique(np.concatenate(list(ids)), return_inverse=True)  # (t,)
    size = n + len(texts)
    edges = (np.concatenate(list(rows)), n + nodes)
    graph = coo_array((np.ones(len(nodes), np.int32), edges), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n]
    groups: Ids = np.unique(component, return_inverse=True)[1].astype(np.int64)
    return groups
