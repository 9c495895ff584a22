"""The keys that a query has beside its first one, for examples that hold a query with all of its keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.column import Ids, ranges


@dataclass(frozen=True)
class FurtherKeys:
    """The further keys of n queries: query i has the pairs `offsets[i]` to `offsets[i + 1]`.

    pairs (e, 3): row, cell of the query, cell of the key; offsets (n + 1,).
    """

    pairs: Ids
    offsets: Ids

    @classmethod
    def of(cls, pairs: Ids, queries: Ids, keys: Ids) -> tuple[Ids, FurtherKeys]:
        """Return the first pair of each distinct query, (n, 3) in the order of the data, and the queries' other keys.

        pairs (e, 3): row, cell of the query, cell of the key; queries and keys (e,): their content ids. A key that a
        query has twice is one key.
        """
        _, first, query = np.unique(queries, return_index=True, return_inverse=True)
        place = np.empty(len(first), np.int64)
        place[np.argsort(first)] = np.arange(len(first))  # queries by their first pair
        query = place[query]  # (e,)
        order = np.lexsort((np.arange(len(pairs)), keys, query))
        new = np.append(True, (np.diff(query[order]) != 0) | (np.diff(keys[order]) != 0))[: len(order)]
        distinct = np.sort(order[new])  # each key of a query once, where it comes first
        further = distinct[~np.isin(distinct, first)]
        further = further[np.argsort(query[further], kind="stable")]
        counts = np.bincount(query[further], minlength=len(first))
        return pairs[np.sort(first)], cls(pairs[further], np.append(0, np.cumsum(counts)))

    def __call__(self, examples: Ids) -> tuple[Ids, Ids]:
        """Return the further pairs (f, 3) of some examples (b,), and the position (f,) of the example of each."""
        counts = self.offsets[examples + 1] - self.offsets[examples]
        return self.pairs[ranges(self.offsets[examples], counts)], np.repeat(np.arange(len(examples)), counts)
