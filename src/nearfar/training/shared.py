"""What one data set knows of another's queries: a question that both ask has the answers of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from nearfar.column import Ids
from nearfar.contracts import Positives
from nearfar.pairs import Known, Pairs
from nearfar.positives._items import QUERY_SIDE
from nearfar.positives._relation import Relation
from nearfar.training.joined import Joined, union

CHUNK = 8192  # examples read at once


@dataclass(frozen=True)
class Shared:
    """The relation of all queries of all data sets.

    Built from ids alone, so it holds for whatever says who is near whom: the same query item is the same query, and
    near every group that it is near in any data set, in whichever data set a key of that group lies. A key that
    repeats another data set's query word for word, and is no answer to it, is neither near nor far, as within one data
    set (`Columns`).
    """

    relation: Relation

    @classmethod
    def of(cls, parts: Sequence[Positives]) -> Self:
        """Read the ids of all examples once."""
        query, group = (np.concatenate(column) for column in zip(*map(_ids, parts), strict=True))
        return cls(Relation(query, group))

    def told(self, found: Joined, *, apart: bool) -> Pairs:
        """Return the pairs with what the data sets know of each other; what one says itself stays.

        apart: nothing is said of a query and a key of two data sets.
        """
        pairs = found.pairs
        n, m = pairs.shape
        groups = torch.cat([pairs.query_group, pairs.key_group]).numpy()
        known = self.relation.known(pairs.query_item.numpy() ^ QUERY_SIDE, groups)
        if known is None:
            return pairs
        rows, columns, weight = known[0], known[1] - n, known[2]
        new = columns >= 0  # the others tell of the groups that stand for the queries' own keys
        if apart:
            new[new] = found.query_data[rows[new]] == found.key_data[columns[new]]
        if pairs.known is not None:
            said = (pairs.known.rows * m + pairs.known.columns).numpy()
            new &= ~np.isin(rows * m + columns, said)
        if not new.any():
            return pairs
        more = Known(*(torch.from_numpy(part[new]) for part in (rows, columns, weight)))
        return replace(pairs, known=union([more] if pairs.known is None else [pairs.known, more]))


def _ids(part: Positives) -> tuple[Ids, Ids]:
    """Return all queries' contents and groups."""
    found = [part.batch(np.arange(i, min(i + CHUNK, len(part)))).pairs for i in range(0, len(part), CHUNK)]
    items = torch.cat([pairs.query_item for pairs in found])
    return items.numpy() ^ QUERY_SIDE, torch.cat([pairs.query_group for pairs in found]).numpy()
