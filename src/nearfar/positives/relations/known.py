"""The known positive and ignored pairs of a data set, looked up for the queries and keys of a batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_id, equal_pairs, ranges
from nearfar.positives.relations.decisions import Decisions

# an item is a content id ^ one of these, so that a query and a key of one text are different items
QUERY_SIDE, KEY_SIDE = content_id("query side"), content_id("key side")


class KnownPairs:
    """The positive pairs of queries that have several keys, which the groups of a batch cannot express.

    queries, keys: (e,) content ids of the data set's positive pairs. decisions: further positives, and pairs that are
    ignored.
    """

    def __init__(self, queries: Ids, keys: Ids, decisions: Decisions | None = None) -> None:
        self.dropped = None if decisions is None else decisions.dropped
        if decisions is not None:
            queries, keys = (np.concatenate(ids) for ids in zip((queries, keys), decisions.positive))
        repeated = _repeated(queries)  # most queries have one key: the others alone are sorted by two columns
        queries, keys = _distinct(queries[repeated], keys[repeated])  # (e,) each, ordered by query, then key
        query, place, count = np.unique(queries, return_inverse=True, return_counts=True)
        self.key = keys[count[place] > 1]  # ids, ordered by query
        self.query, self.count = query[count > 1], count[count > 1]  # (r,) ids, and how many of `key` each one has
        self.first = np.cumsum(self.count) - self.count  # (r,) where in `key` they begin

    def known(self, queries: Ids, keys: Ids) -> tuple[Ids, Ids, npt.NDArray[np.float32]] | None:
        """Return the pairs of a batch that its groups do not express, as (rows, columns, weights); None without any.

        queries: (n,) content ids; keys: (m,), of which the first n are the queries' keys. The other keys that a query
        has in the data set are positives (weight 1). A key that is no positive, and repeats its query's text or was
        dropped, is ignored (weight 0).
        """
        entry = np.searchsorted(self.query, queries)  # `query` is sorted: no batch sorts millions of ids
        row = np.flatnonzero(np.append(self.query, 0)[entry] == queries) if len(self.query) else entry[:0]
        row = row[entry[row] < len(self.query)]
        entry = entry[row]
        row, content = np.repeat(row, self.count[entry]), self.key[ranges(self.first[entry], self.count[entry])]
        pair, column = equal_pairs(content, keys)
        row = row[pair]
        same_group = keys[column] == keys[row]
        row, column = row[~same_group], column[~same_group]
        ignored_row, ignored_column = self._ignored(queries, keys)
        same_group = keys[ignored_column] == keys[ignored_row]
        positive = np.isin(ignored_row * len(keys) + ignored_column, row * len(keys) + column)
        ignored_row, ignored_column = ignored_row[~same_group & ~positive], ignored_column[~same_group & ~positive]
        if len(row) + len(ignored_row) == 0:
            return None
        weights = np.repeat(np.array([1, 0], np.float32), [len(row), len(ignored_row)])
        return np.concatenate([row, ignored_row]), np.concatenate([column, ignored_column]), weights

    def _ignored(self, queries: Ids, keys: Ids) -> tuple[Ids, Ids]:
        """Return the (row, column) of pairs with equal texts and of dropped pairs; positives may be among them."""
        row, column = equal_pairs(queries, keys)
        if self.dropped is None:
            return row, column
        dropped_row, pair = equal_pairs(queries, self.dropped[0])
        place, dropped_column = equal_pairs(self.dropped[1][pair], keys)
        cells = np.unique(np.concatenate([row * len(keys) + column, dropped_row[place] * len(keys) + dropped_column]))
        return cells // len(keys), cells % len(keys)


def _distinct(queries: Ids, keys: Ids) -> tuple[Ids, Ids]:
    """Return the distinct pairs, ordered; sorting twice takes a tenth of the time of numpy's `unique` of rows."""
    order = np.lexsort((keys, queries))
    queries, keys = queries[order], keys[order]
    new = np.append(True, (np.diff(queries) != 0) | (np.diff(keys) != 0))[: len(order)]
    return queries[new], keys[new]


def _repeated(ids: Ids) -> npt.NDArray[np.bool_]:
    """Return which ids occur more than once, (n,)."""
    order = np.argsort(ids)
    same = np.concatenate([[False], np.diff(ids[order]) == 0, [False]])  # (n + 1,) equal to the one before
    repeated = np.empty(len(ids), np.bool_)
    repeated[order] = same[:-1] | same[1:]
    return repeated
