"""What the temperature does to a contrastive loss on given vectors: where the push goes, how sure the positive is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.pairs import Pairs
from nearfar.vectors.geometry import check_vectors

GRID = tuple(round(10 ** (i / 20 - 2), 6) for i in range(61))  # of curves: 0.01 to 10
LANDMARKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0)  # of tables


@dataclass(frozen=True)
class Penalties:
    """Means over n queries for each of t temperatures, all float64.

    negatives: (n,) of each query. hardest: k -> (t,), the share of the gradient that falls on the k most similar
    negatives. entropy: (t,) nats; entropy_share: (t,) of its maximum, the log of the number of negatives. positive:
    (t,) the probability of the positives.
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
    """Return how the push on a query's negatives is shared out among them, as a function of temperature.

        r_ij = e^{s_ij/tau} / sum_{k negative of i} e^{s_ik/tau},      p_i = 1 - sum_{k negative of i} P_ik

    r is the relative penalty, P the softmax over all candidates of i, s = q . k. As dL_i/ds_ij = P_ij / tau on each
    negative, r_ij is j's share of the gradient that pushes, which in sum equals the one that pulls the positive. Where
    tau -> 0 it falls on the most similar negative alone, where tau -> infinity on all alike. Source: Wang & Liu 2021,
    arXiv:2012.09740, sections 3.1 and 3.2.

    Args:
        queries, keys: (n, d) and (m, d); similarities are computed in float64, a block of queries at a time.
        pairs: who is near whom. Keys that share an item are one key, of which the first vector counts.
        temperatures: t of them, >= 0; 0 and infinity stand for the two limits.
        hardest: numbers k of negatives; where a query has no more than k, its share is 1.

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
    columns = distinct_keys(pairs)  # (v,)
    keys = keys[columns]
    totals: list[Tensor] = []
    negatives: list[Tensor] = []
    for start in range(0, len(queries), block):
        found = pair_masks(pairs, columns, start, start + block)
        negatives.append(found.far.sum(1))
        similarity = queries[start : start + block] @ keys.T  # (b, v)
        totals.append(_block(similarity, found, temperatures, hardest))
    mean = torch.stack(totals).sum(0) / len(queries)  # (t, 3 + h)
    shares = {k: mean[:, 3 + i] for i, k in enumerate(hardest)}
    return Penalties(torch.cat(negatives), shares, mean[:, 0], mean[:, 1], mean[:, 2])


def _block(similarity: Tensor, found: PairMasks, temperatures: Sequence[float], hardest: Sequence[int]) -> Tensor:
    """Return sums over a block's queries of entropy, its share, the positive's probability, shares, (t, 3 + h)."""
    far = similarity.masked_fill(~found.far, -torch.inf).sort(descending=True).values  # (b, v)
    few = int(found.near.sum(1).max())
    near = similarity.masked_fill(~found.near, -torch.inf).topk(few).values  # (b, few)
    top = torch.maximum(far[:, :1], near[:, :1])  # (b, 1)
    most = found.far.sum(1).double().log()  # (b,)
    rows = []
    for tau in temperatures:
        z = _scaled(far - far[:, :1], tau)  # (b, v), at most 0
        weight = z.exp()
        total = weight.sum(1)  # (b,), at least 1
        entropy = total.log() - torch.where(weight > 0, z * weight, 0.0).sum(1) / total
        push = total.log() + _scaled(far[:, 0] - top[:, 0], tau)
        pull = _scaled(near - top, tau).logsumexp(1)
        shares = [weight[:, :k].sum(1) / total for k in hardest]
        rows.append(torch.stack([entropy, entropy / most, torch.sigmoid(pull - push), *shares]).sum(1))
    return torch.stack(rows)


def _scaled(below: Tensor, tau: float) -> Tensor:
    """Return what lies below the maximum, divided by tau; in the limits only the maximum, or all alike, count."""
    if tau == 0:
        return torch.where(below == 0, 0.0, -torch.inf)
    return torch.where(torch.isneginf(below), -torch.inf, below / tau)


def tolerance(x: Tensor, labels: Tensor) -> Tensor:
    """Return the mean similarity of distinct vectors of one class: mean of x_i . x_j over i != j with l_i = l_j.

    Source: Wang & Liu 2021, arXiv:2012.09740, section 3.3, where pairs of two classes enter as zeros; here they are
    left out, so that the number of classes does not scale it. x: (n, d) unit vectors; labels: (n,) integers.

    Errors: `InputError`: shapes that do not fit; no class with two vectors.

    When not to use it alone: a space that has collapsed to one point is the most tolerant of all.
    """
    x = check_vectors(x, "x").double()
    if labels.shape != (len(x),):
        raise InputError(f"labels must be ({len(x)},), they are {tuple(labels.shape)}")
    _, place, count = torch.unique(labels, return_inverse=True, return_counts=True)
    pairs = (count * (count - 1)).sum()
    if not pairs:
        raise InputError(f"tolerance: no two of {len(x)} vectors share a class; give more rows, or coarser labels")
    centre = x.new_zeros(len(count), x.shape[1]).index_add(0, place, x)  # (c, d)
    result: Tensor = (centre.square().sum() - x.square().sum()) / pairs
    return result


@dataclass(frozen=True)
class PairMasks:
    """near, far: (b, v) bool, of b queries and v distinct keys."""

    near: Tensor
    far: Tensor


def distinct_keys(pairs: Pairs) -> Tensor:
    """Return the first row of each distinct key, (v,), ascending: keys that share item and scope are one."""
    code = _codes(pairs)[1]  # (m,)
    order = torch.arange(len(code) - 1, -1, -1)
    first = torch.empty(int(code.max()) + 1, dtype=torch.int64).scatter_(0, code.flip(0), order)
    return first.sort().values


def pair_masks(pairs: Pairs, columns: Tensor, start: int, stop: int) -> PairMasks:
    """Return the sides of queries `start` to `stop` and of some keys (v,).

    Errors: `InputError`: queries, named, without a positive or with fewer than two negatives.
    """
    rows = slice(start, stop)
    near, far = pairs.by_ids((rows, None), columns)  # (b, v)
    if pairs.known is not None:
        query, key = _codes(pairs)
        told = query[pairs.known.rows]  # (e,)
        i, entry = (query[rows, None] == told).nonzero(as_tuple=True)
        # every copy of a key stands in one column: the place of its code among those kept
        place = torch.empty(int(key.max()) + 1, dtype=torch.int64)
        place[key[columns]] = torch.arange(len(columns))
        j, weight = place[key[pairs.known.columns[entry]]], pairs.known.weight[entry]
        near[i, j] = far[i, j] = False
        near[i[weight > 0], j[weight > 0]] = True  # of several weights the largest holds
    _check(near.sum(1) < 1, start, "have no positive")
    _check(far.sum(1) < 2, start, "have fewer than two negatives, so there is nothing to share out")
    return PairMasks(near, far)


def _codes(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Number the distinct queries (n,) and the distinct keys (m,)."""
    return _code(pairs.query_item, pairs.query_scope), _code(pairs.key_item, pairs.key_scope)


def _code(item: Tensor, scope: Tensor | None) -> Tensor:
    columns = [item] if scope is None else [item, scope]
    code: Tensor = torch.unique(torch.stack(columns), dim=1, return_inverse=True)[1]
    return code


def _check(broken: Tensor, first: int, what: str) -> None:
    if bool(broken.any()):
        rows = (broken.nonzero()[:, 0] + first).tolist()
        raise InputError(f"queries {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''} {what}")
