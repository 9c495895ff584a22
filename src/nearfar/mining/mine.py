"""Mining a data set with a model: texts in, hard negatives out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.contracts import Positives
from nearfar.decisions import Decisions
from nearfar.errors import InputError
from nearfar.mining._embedded import embedded
from nearfar.mining._texts import Distinct, Known
from nearfar.mining.hard import Controls, Mined, hard_negatives
from nearfar.ragged import meetings
from nearfar.tasks import Retrieval


class Judge(Protocol):
    """A scorer of pairs, such as a cross-encoder: the i-th query with the i-th text."""

    def __call__(self, queries: list[str], texts: list[str]) -> npt.NDArray[np.float32]:
        """Return the scores (e,)."""
        ...


@dataclass(frozen=True)
class Hard:
    """A data set's hard negatives.

    queries, keys: the distinct contents, n and m of them. examples: (e,) query and (e,) key, the pairs of the data.
    mined: rows and scores, which count in the same way.
    """

    queries: Distinct
    keys: Distinct
    examples: tuple[Ids, Ids]
    mined: Mined


def mine(
    model: Any,
    positives: Positives | Retrieval,
    controls: Controls | None = None,
    *,
    corpus: Column | None = None,
    decisions: Decisions | None = None,
    rescore: Judge | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Hard:
    """Return the hard negatives of each query of a data set, as a model sees them.

    Equal texts are one document, every known positive of a query is none of its negatives, and neither is a text that
    repeats the query word for word. Distinct texts are embedded once, and their vectors kept on disk for the next call
    with the same model.

    Args:
        model: a `Model`, or whatever has `embed(cells, role=)`; the model's prompts are put in front by role.
        positives: `positives.Columns`, or a retrieval task (`data.Beir(...).task()`), whose judged pairs are near.
        controls: which of the nearest are taken, see `Controls`.
        corpus: further documents, which are nobody's positive.
        decisions: what people said of earlier negatives: dropped pairs are left out, positive ones are near.
        rescore: a judge of pairs whose scores replace the model's, see `mining.rescore`.
        advance: is told (queries done, queries).

    Errors: those of embedding; `InputError` for positives that are no pairs.

    Example:
        >>> import nearfar as nf
        >>> pairs = [{"query": "near?", "key": "near"}, {"query": "far?", "key": "far"}]
        >>> positives = nf.positives.Columns(nf.data.Table(pairs))
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> encoder.prepare(list(positives.views.values()))
        >>> hard = mine(nf.Model(encoder), positives)
        >>> hard.keys.texts(hard.mined.rows[:, 0])
        ['far', 'near']

    When not to use it: see `hard_negatives`.
    """
    known = Known.of(positives)
    queries, asked = Distinct.of(known.queries)
    keys, answers = Distinct.of(known.keys, *([] if corpus is None else [corpus]))
    if len(queries) == 0 or len(keys) == 0:
        raise InputError("mining: the data has no texts; give a table with rows")
    examples = _pairs(asked[known.pairs[0]], answers[known.pairs[1]], len(keys))
    decisions = decisions or Decisions.none()
    positive, dropped = (_places(pairs, queries, keys) for pairs in (decisions.positive, decisions.dropped))
    equal = meetings(queries.ids, keys.ids)
    near = _joined(examples, positive)

    def judged(query: Ids, key: Ids) -> npt.NDArray[np.float32]:
        assert rescore is not None
        return np.asarray(rescore(queries.texts(query), keys.texts(key)), np.float32)

    done = 0

    def further(count: int) -> None:
        nonlocal done
        done += count
        if advance is not None:
            advance(done, len(queries))

    mined = hard_negatives(
        embedded(model, queries, "query"),
        embedded(model, keys, "key"),
        near,
        controls,
        excluded=_joined(equal, dropped),
        rescore=None if rescore is None else judged,
        advance=further,
    )
    return Hard(queries, keys, examples, mined)


def _pairs(query: Ids, key: Ids, m: int) -> tuple[Ids, Ids]:
    """Return each pair once, in order of appearance; a key without text answers nothing."""
    there = (key >= 0) & (query >= 0)
    query, key = query[there], key[there]
    first = np.sort(np.unique(query * m + key, return_index=True)[1])
    return query[first], key[first]


def _places(pairs: tuple[Ids, Ids], queries: Distinct, keys: Distinct) -> tuple[Ids, Ids]:
    """Return where pairs of content ids lie; those of other data are passed over."""
    pair, query = meetings(pairs[0], queries.ids)
    place, key = meetings(pairs[1][pair], keys.ids)
    return query[place], key


def _joined(one: tuple[Ids, Ids], other: tuple[Ids, Ids]) -> tuple[Ids, Ids]:
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
