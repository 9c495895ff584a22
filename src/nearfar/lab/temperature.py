"""What the temperature does to InfoNCE on given vectors: shares of the gradient, the positive's probability.

Wang & Liu 2021, arXiv:2012.09740: relative penalties, and the tolerance to similar samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.pairs import Pairs
from nearfar.vectors.geometry import check_vectors

GRID = tuple(round(10 ** (i / 20 - 2), 6) for i in range(61))  # the temperatures of curves: 0.01 to 10
LANDMARKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0)  # the temperatures of tables


@dataclass(frozen=True)
class Penalties:
    """The relative penalties of n queries: means over the queries for each of t temperatures, in float64.

    negatives: (n,) the number of each query's negatives. hardest: for each k, (t,) the share of the negatives' gradient
    that falls on the k most similar ones. entropy: (t,) of these shares, in nats. entropy_share: (t,) the same as a
    share of its maximum, the logarithm of the number of negatives. positive: (t,) the probability of the positives.
    """

    negatives: Tensor
    hardest: dict[int, Tensor]
    entropy: Tensor
    entropy_share: Tensor
    positive: Tensor


def penalties(
    queries: Tensor,
    keys: Tensor,
    pairs: Pairs,
    temperatures: Sequence[float],
    *,
    hardest: Sequence[int] = (1, 10, 100),
    block: int = 256,
) -> Penalties:
    """Return how the gradient on a query's negatives is distributed among them, as a function of temperature.

        r_ij = e^{s_ij/tau} / sum_{k negative of i} e^{s_ik/tau},      p_i = 1 - sum_{k negative of i} P_ik

    r is the relative penalty, P the softmax over all keys of i, s = q . k. As dL_i/ds_ij = P_ij / tau on each negative,
    r_ij is j's share of the gradient on the negatives, which in sum equals the one on the positive. Where tau -> 0 it
    falls on the most similar negative alone, where tau -> infinity on all alike. Source: Wang & Liu 2021,
    arXiv:2012.09740, sections 3.1 and 3.2.

    Args:
        queries, keys: (n, d) and (m, d); similarities are computed in float64, a block of queries at a time.
        pairs: the positives and negatives. Keys that share an item are one key, of which the first vector counts.
        temperatures: t of them, >= 0; 0 and infinity stand for the two limits.
        hardest: numbers k of negatives; where a query has no more than k, its share is 1.
        block: queries of a block; memory is O(block m).

    Errors: `InputError`: a temperature below 0; shapes that do not fit; queries, named, without a positive or with
    fewer than two negatives.

    Example:
        >>> import torch, nearfar as nf
        >>> q = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> float(penalties(q, q, nf.Pairs.aligned(8), [0.0]).hardest[1])
        1.0

    When not to use it: to choose a temperature by; the numbers depend on how many negatives there are.
    """
    queries, keys = check_vectors(queries, "queries").double(), check_vectors(keys, "keys").double()
    if pairs.shape != (len(queries), len(keys)) or queries.shape[1] != keys.shape[1]:
        raise InputError(f"pairs are {pairs.shape}, vectors {tuple(queries.shape)} and {tuple(keys.shape)}")
    wrong = [tau for tau in temperatures if not tau >= 0]
    if wrong or not temperatures:
        raise InputError(f"temperatures must be 0 or more, they are {wrong or 'none'}")
    columns = _distinct_keys(pairs)  # (v,)
    keys = keys[columns]
    totals: list[Tensor] = []
    negatives: list[Tensor] = []
    for start in range(0, len(queries), block):
        masks = _pair_masks(pairs, columns, start, start + block)
        negatives.append(masks.negative.sum(1))
        similarity = queries[start : start + block] @ keys.T  # (b, v)
        totals.append(_block_sums(similarity, masks, temperatures, hardest))
    mean = torch.stack(totals).sum(0) / len(queries)  # (t, 3 + h)
    shares = {k: mean[:, 3 + i] for i, k in enumerate(hardest)}
    return Penalties(torch.cat(negatives), shares, mean[:, 0], mean[:, 1], mean[:, 2])


def tolerance(x: Tensor, labels: Tensor) -> Tensor:
    """Return the mean similarity of two vectors of one class: mean of x_i . x_j over i != j with l_i = l_j.

    x: (n, d) unit vectors; labels l: (n,) integers. Source: Wang & Liu 2021, arXiv:2012.09740, section 3.3, where
    pairs of two classes enter as zeros; here they are left out, so that the number of classes does not scale it.

    Errors: `InputError`: shapes that do not fit; no class with two vectors.

    When not to use it alone: a space that has collapsed to one point is the most tolerant of all.
    """
    x = check_vectors(x, "x").double()
    if labels.shape != (len(x),):
        raise InputError(f"labels must be ({len(x)},), they are {tuple(labels.shape)}")
    _, inverse, count = torch.unique(labels, return_inverse=True, return_counts=True)
    pairs = (count * (count - 1)).sum()
    if not pairs:
        raise InputError(f"tolerance: no two of {len(x)} vectors share a class; give more rows, or coarser labels")
    sums = x.new_zeros(len(count), x.shape[1]).index_add(0, inverse, x)  # (c, d)
    result: Tensor = (sums.square().sum() - x.square().sum()) / pairs
    return result


@dataclass(frozen=True)
class _PairMasks:
    """The positives and the negatives of b queries among v distinct keys, (b, v) bool each."""

    positive: Tensor
    negative: Tensor


def _distinct_keys(pairs: Pairs) -> Tensor:
    """Return the first row of each distinct key, (v,), ascending: keys that share item and scope are one."""
    code = _numbered(pairs.key_item, pairs.key_scope)  # (m,)
    order = torch.arange(len(code) - 1, -1, -1)
    first = torch.empty(int(code.max()) + 1, dtype=torch.int64).scatter_(0, code.flip(0), order)
    return first.sort().values


def _pair_masks(pairs: Pairs, columns: Tensor, start: int, stop: int) -> _PairMasks:
    """Return the masks of queries `start` to `stop` among the keys at `columns` (v,).

    Errors: `InputError`: queries, named, without a positive or with fewer than two negatives.
    """
    rows = slice(start, stop)
    positive, negative = pairs.by_ids((rows, None), columns)  # (b, v)
    if pairs.known is not None:
        query = _numbered(pairs.query_item, pairs.query_scope)  # (n,)
        key = _numbered(pairs.key_item, pairs.key_scope)  # (m,)
        i, entry = (query[rows, None] == query[pairs.known.rows]).nonzero(as_tuple=True)
        # All copies of a key share one column of the masks, that of their number.
        column = torch.empty(int(key.max()) + 1, dtype=torch.int64)
        column[key[columns]] = torch.arange(len(columns))
        j, weight = column[key[pairs.known.columns[entry]]], pairs.known.weight[entry]
        positive[i, j] = negative[i, j] = False
        positive[i[weight > 0], j[weight > 0]] = True  # of several weights the largest holds
    _refuse(positive.sum(1) < 1, start, "have no positive")
    _refuse(negative.sum(1) < 2, start, "have fewer than two negatives, so their shares say nothing")
    return _PairMasks(positive, negative)


def _numbered(item: Tensor, scope: Tensor | None) -> Tensor:
    """Return the number of each row's pair of item and scope among the distinct ones, (n,)."""
    columns = [item] if scope is None else [item, scope]
    number: Tensor = torch.unique(torch.stack(columns), dim=1, return_inverse=True)[1]
    return number


def _refuse(wrong: Tensor, first: int, what: str) -> None:
    if bool(wrong.any()):
        rows = (wrong.nonzero()[:, 0] + first).tolist()
        raise InputError(f"queries {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''} {what}")


def _block_sums(similarity: Tensor, masks: _PairMasks, temperatures: Sequence[float], hardest: Sequence[int]) -> Tensor:
    """Return sums over a block's queries (b, v) at each temperature, (t, 3 + h).

    They are: the entropy, its share of the maximum, the positives' probability, the share of each number of hardest.
    """
    negatives = similarity.masked_fill(~masks.negative, -torch.inf).sort(descending=True).values  # (b, v)
    most_positives = int(masks.positive.sum(1).max())
    positives = similarity.masked_fill(~masks.positive, -torch.inf).topk(most_positives).values  # (b, most_positives)
    top = torch.maximum(negatives[:, :1], positives[:, :1])  # (b, 1)
    largest_entropy = masks.negative.sum(1).double().log()  # (b,)
    rows = []
    for tau in temperatures:
        z = _scaled(negatives - negatives[:, :1], tau)  # (b, v), at most 0
        weight = z.exp()
        total = weight.sum(1)  # (b,), at least 1
        entropy = total.log() - torch.where(weight > 0, z * weight, 0.0).sum(1) / total
        negative_lse = total.log() + _scaled(negatives[:, 0] - top[:, 0], tau)  # (b,)
        positive_lse = _scaled(positives - top, tau).logsumexp(1)  # (b,)
        probability = torch.sigmoid(positive_lse - negative_lse)
        shares = [weight[:, :k].sum(1) / total for k in hardest]
        rows.append(torch.stack([entropy, entropy / largest_entropy, probability, *shares]).sum(1))
    return torch.stack(rows)


def _scaled(below: Tensor, tau: float) -> Tensor:
    """Return differences to the maximum, at most 0, divided by tau.

    Where tau is 0, only the maximum counts: all others become -inf. Where it is infinite, all but masked ones become 0.
    """
    if tau == 0:
        return torch.where(below == 0, 0.0, -torch.inf)
    return torch.where(torch.isneginf(below), -torch.inf, below / tau)
