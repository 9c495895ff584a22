"""Mining a data set with a model: texts in, hard negatives out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nearfar.column import Column
from nearfar.contracts import Positives
from nearfar.decisions import Decisions
from nearfar.mining._embedded import embedded
from nearfar.mining._search import Hard, Judge, search
from nearfar.mining._texts import sides_of
from nearfar.mining.controls import Controls
from nearfar.tasks import Retrieval


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
        decisions: what people said of earlier negatives, besides those that the positives know of: dropped pairs are
            left out, positive ones are near.
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
    side = sides_of(positives)
    if decisions is not None:
        near, neither = (np.stack(pairs, 1) for pairs in (decisions.positive, decisions.dropped))
        side = replace(side, near=np.concatenate([side.near, near]), neither=np.concatenate([side.neither, neither]))
    return search(side, partial(embedded, model), controls, corpus=corpus, rescore=rescore, advance=advance)
