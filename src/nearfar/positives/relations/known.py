"""All that a data set knows of which query is near which key, looked up for the rows of a batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_id, equal_pairs, ranges
from nearfar.positives.relations.decisions import Decisions

QUERY_SIDE, KEY_SIDE = content_id("query side"), content_id("key side")  # a row's item: its content's id ^ its side


class KnownPairs:
    """The distinct (query, key) content ids of queries that have several keys; the others need no look-up.

    decisions: what people said of pairs that the data set does not know: near as well, or neither near nor far.
    """

    def __init__(self, queries: Ids, keys: Ids, decisions: Decisions | None = None) -> None:
        self.dropped = None if decisions is None else decisions.dropped
        if decisions is not None:
            queries, keys = (np.concatenate(ids) for ids in zip((queries, keys), decisions.positive))
        some = _repeated(queries)  # most have one key: only the others are worth a sort by two columns
        queries, keys = _distinct(queries[some], keys[some])  # (e,) each, by query, then key
        query, place, count = np.unique(queries, return_inverse=True, return_counts=True)
        self.key = keys[count[place] > 1]
        self.query, self.count = query[count > 1], count[count > 1]
        self.first = np.cumsum(self.count) - self.count

    def known(self, queries: Ids, keys: Ids) -> tuple[Ids, Ids, npt.NDArray[np.float32]] | None:
        """Return (rows, columns, weights) of what the groups of a batch do not say; None where they say it all.

        queries: (n,) content ids; keys: (m,), of which the first n are the queries' own. A query's other answers are
        near; a key that repeats its query word for word, or was dropped, and is no answer to it, is neither near nor
        far.
        """
        entry = np.searchsorted(self.query, queries)  # sorted: a sort of millions for each batch is not needed
        row = np.flatnonzero(np.append(self.query, 0)[entry] == queries) if len(self.query) else entry[:0]
        row = row[entry[row] < len(self.query)]
        entry = entry[row]
        row, content = np.repeat(row, self.count[entry]), self.key[ranges(self.first[entry], self.count[entry])]
        answer, near_column = equal_pairs(content, keys)
        near_row = row[answer]
        other = keys[near_column] != keys[near_row]
        near_row, near_column = near_row[other], near_column[other]
        same_row, same_column = self._neither(queries, keys)
        own = keys[same_column] == keys[same_row]
        answered = np.isin(same_row * len(keys) + same_column, near_row * len(keys) + near_column)
        same_row, same_column = same_row[~own & ~answered], same_column[~own & ~answered]
        if len(near_row) + len(same_row) == 0:
            return None
        weights = np.repeat(np.array([1, 0], np.float32), [len(near_row), len(same_row)])
        return np.concatenate([near_row, same_row]), np.concatenate([near_column, same_column]), weights

    def _neither(self, queries: Ids, keys: Ids) -> tuple[Ids, Ids]:
        """Return the (row, column) that are not compared: equal texts, and pairs that people dropped."""
        row, column = equal_pairs(queries, keys)
        if self.dropped is None:
            return row, column
        dropped_row, pair = equal_pairs(queries, self.dropped[0])
        place, dropped_column = equal_pairs(self.dropped[1][pair], keys)
        cells = np.unique(np.concatenate([row * len(keys) + column, dropped_row[place] * len(keys) + dropped_column]))
        return cells // len(keys), cells % len(keys)


def _distinct(queries: Ids, keys: Ids) -> tuple[Ids, Ids]:
    """Return the distinct pairs, ordered; two sorts of whole numbers take a tenth of numpy's `unique` of rows."""
    order = np.lexsort((keys, queries))
    queries, keys = queries[order], keys[order]
    new = np.append(True, (np.diff(queries) != 0) | (np.diff(keys) != 0))[: len(order)]
    return queries[new], keys[new]


def _repeated(ids: Ids) -> npt.NDArray[np.bool_]:
    """Say which ids occur more than once, (n,)."""
    order = np.argsort(ids)
    same = np.concatenate([[False], np.diff(ids[order]) == 0, [False]])  # as the one before, (n + 1,)
    found = np.empty(len(ids), np.bool_)
    found[order] = same[:-1] | same[1:]
    return found
