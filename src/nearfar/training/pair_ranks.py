"""At which place a batch's queries find their positives: ranks among the batch's own keys, by cosine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearfar.contracts import Values
from nearfar.pairs import Pairs

DEPTHS = (1, 5, 10)  # of `hit_rates`, those that papers give


def reciprocal_ranks(cosines: Tensor, pairs: Pairs) -> Values:
    """Return 1 / rank (n,) of each query's best positive among its negatives, by cosines (n, m).

    A tie with a negative counts against it.
    """
    return _reciprocal_ranks(cosines, *positives_and_negatives(pairs))


def hit_rates(cosines: Tensor, pairs: Pairs) -> dict[str, float]:
    """Return the share of queries with any positive among the k best keys of a batch, for k of 1, 5, 10.

    It is the metric `hit_rate@k`, R@k of papers, within the batch, query-to-key, by cosines (n, m). A query that the
    batch holds several times counts once; one that has no positive or no negative there is left out, and without any
    other there is no number, {}.
    """
    positive, negative = positives_and_negatives(pairs)
    judged = (positive.any(1) & negative.any(1)).numpy()
    first = np.unique(pairs.query_item.numpy(), return_index=True)[1]
    of_queries = first[judged[first]]
    if not len(of_queries):
        return {}
    found = _reciprocal_ranks(cosines, positive, negative)[of_queries]
    return {f"hit_rate@{k}": float(np.mean(found >= 1 / k)) for k in DEPTHS}


def positives_and_negatives(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the masks (n, m) of the positives and of the negatives, with what is known of single pairs.

    Where something is known of every pair, it is a teacher's score, which tells no positive from a negative.
    """
    n, m = pairs.shape
    positive, negative = pairs.by_ids(torch.arange(n)[:, None], torch.arange(m)[None])  # (n, m)
    if pairs.known is not None and len(pairs.known.rows) < n * m:
        at = pairs.known.rows, pairs.known.columns
        positive[at], negative[at] = pairs.known.weight > 0, False
    return positive, negative


def _reciprocal_ranks(cosines: Tensor, positive: Tensor, negative: Tensor) -> Values:
    best = cosines.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)  # (n, 1)
    before = (negative & (cosines >= best)).sum(1)  # (n,)
    found: Values = 1.0 / (1.0 + before.double().numpy())
    return found
