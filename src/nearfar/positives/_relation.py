"""All that a data set knows of which query is near which key, looked up for the rows of a batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.ragged import meetings, ranges


class Relation:
    """The distinct (query, key) content ids of queries that have several keys; the others need no look-up."""

    def __init__(self, queries: Ids, keys: Ids) -> None:
        some = _repeated(queries)  # most have one key: only the others are worth a sort by two columns
        edges = np.unique(np.stack([queries[some], keys[some]], 1), axis=0)  # (e, 2), by query, then key
        query, place, count = np.unique(edges[:, 0], return_inverse=True, return_counts=True)
        self.key = edges[count[place] > 1, 1]
        self.query, self.count = query[count > 1], count[count > 1]
        self.first = np.cumsum(self.count) - self.count

    def known(self, queries: Ids, keys: Ids) -> tuple[Ids, Ids, npt.NDArray[np.float32]] | None:
        """Return (rows, columns, weights) of what the groups of a batch do not say; None where they say it all.

        queries: (n,) content ids; keys: (m,), of which the first n are the queries' own. A query's other answers are
        near; a key that repeats its query word for word, and is no answer to it, is neither near nor far.
        """
        row, entry = meetings(queries, self.query)
        row, content = np.repeat(row, self.count[entry]), self.key[ranges(self.first[entry], self.count[entry])]
        answer, near_column = meetings(content, keys)
        near_row = row[answer]
        other = keys[near_column] != keys[near_row]
        near_row, near_column = near_row[other], near_column[other]
        same_row, same_column = meetings(queries, keys)
        own = keys[same_column] == keys[same_row]
        answered = np.isin(same_row * len(keys) + same_column, near_row * len(keys) + near_column)
        same_row, same_column = same_row[~own & ~answered], same_column[~own & ~answered]
        if len(near_row) + len(same_row) == 0:
            return None
        weights = np.repeat(np.array([1, 0], np.float32), [len(near_row), len(same_row)])
        return np.concatenate([near_row, same_row]), np.concatenate([near_column, same_column]), weights


def _repeated(ids: Ids) -> npt.NDArray[np.bool_]:
    """Say which ids occur more than once, (n,)."""
    order = np.argsort(ids)
    same = np.concatenate([[False], np.diff(ids[order]) == 0, [False]])  # as the one before, (n + 1,)
    found = np.empty(len(ids), np.bool_)
    found[order] = same[:-1] | same[1:]
    return found
