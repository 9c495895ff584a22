"""The one way from texts to hard negatives: distinct contents, their vectors, and who may be far from whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.contracts import Sides
from nearfar.errors import InputError
from nearfar.mining._texts import Distinct
from nearfar.mining.controls import Controls
from nearfar.mining.hard import Mined, Scores, hard_negatives
from nearfar.ragged import meetings

Embed = Callable[[Distinct, Literal["query", "key"]], npt.NDArray[np.float32]]


class Judge(Protocol):
    """A scorer of pairs, such as a cross-encoder: the i-th query with the i-th text."""

    def __call__(self, queries: list[str], texts: list[str]) -> Scores:
        """Return the scores (e,)."""
        ...


@dataclass(frozen=True)
class Hard:
    """A data set's hard negatives.

    queries, keys: the distinct contents, n and m of them. examples: (e,) query and (e,) key of each example, -1 for a
    cell without text. mined: rows and scores, which count in the same way.
    """

    queries: Distinct
    keys: Distinct
    examples: tuple[Ids, Ids]
    mined: Mined

    @cached_property
    def pairs(self) -> tuple[Ids, Ids]:
        """The data's different pairs, in order of appearance; a cell without text asks and answers nothing."""
        query, key = self.examples
        pairs = np.stack([query, key], 1)[(query >= 0) & (key >= 0)]
        first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
        return pairs[first, 0], pairs[first, 1]


def search(
    side: Sides,
    embed: Embed,
    controls: Controls | None,
    *,
    corpus: Column | None = None,
    rescore: Judge | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Hard:
    """Return the hard negatives of all queries of `side` among its keys and those of a corpus.

    A key that repeats its query word for word is none of its negatives, though no answer either.
    """
    queries, asked = Distinct.of(side.query)
    keys, answers = Distinct.of(side.key, *([] if corpus is None else [corpus]))
    if len(queries) == 0 or len(keys) == 0:
        raise InputError("mining: the data has no texts; give a table with rows")
    same = np.stack([queries.ids, queries.ids], 1)

    def judged(query: Ids, key: Ids) -> Scores:
        assert rescore is not None
        return np.asarray(rescore(queries.texts(query), keys.texts(key)), np.float32)

    mined = hard_negatives(
        embed(queries, "query"),
        embed(keys, "key"),
        _places(side.near, queries, keys),
        controls,
        excluded=_places(np.concatenate([side.neither, same]), queries, keys),
        rescore=None if rescore is None else judged,
        advance=advance,
    )
    return Hard(queries, keys, (asked[side.examples[:, 0]], answers[side.examples[:, 1]]), mined)


def _places(contents: Ids, queries: Distinct, keys: Distinct) -> tuple[Ids, Ids]:
    """Return where contents of a query and a key (e, 2) lie, each pair once; those of other data are passed over."""
    contents = np.unique(contents, axis=0)
    pair, query = meetings(contents[:, 0], queries.ids)
    place, key = meetings(contents[pair, 1], keys.ids)
    return query[place], key
