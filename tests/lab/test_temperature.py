"""Penalties against naive sums, against autograd, and in the limits; tolerance against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from nearfar.errors import InputError
from nearfar.lab.temperature import penalties, tolerance
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Known, Pairs

TAUS = (0.01, 0.05, 0.3, 1.0, 10.0)


def vectors(n: int, d: int = 6, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def tangled(n: int = 24) -> tuple[Tensor, Tensor, Pairs]:
    """Copies of keys and queries, other answers, keys to be ignored, two scopes."""
    queries, keys = vectors(n), vectors(n, seed=1)
    item = torch.arange(n)
    query_item, key_item = item.clone(), item + n
    key_item[5], keys[5] = key_item[2], keys[2]
    query_item[9] = query_item[8]
    key_group = item.clone()
    key_group[5] = key_group[2]
    scope = (item >= n - 8).long()
    known = Known(torch.tensor([0, 0, 8, 4]), torch.tensor([3, 7, 5, 1]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    return queries, keys, Pairs(key_group.clone(), query_item, key_group, key_item, scope, scope, known)


def naive(queries: Tensor, keys: Tensor, pairs: Pairs, i: int) -> tuple[list[float], list[float]]:
    """Return the similarities of query i to its positives and to its negatives, each distinct key once."""
    assert pairs.known is not None and pairs.query_scope is not None and pairs.key_scope is not None
    positives: list[float] = []
    negatives: list[float] = []
    seen = set()
    known: dict[tuple[int, int], float] = {}
    for row, column, weight in zip(*(part.tolist() for part in vars(pairs.known).values())):
        pair = int(pairs.query_item[row]), int(pairs.key_item[column])
        known[pair] = max(known.get(pair, 0.0), weight)
    for j in range(len(keys)):
        name = int(pairs.key_item[j]), int(pairs.key_scope[j])
        if name in seen:
            continue
        seen.add(name)
        similarity = math.fsum((queries[i] * keys[j]).tolist())
        weight = known.get((int(pairs.query_item[i]), name[0]))
        if weight == 0 or (weight is None and pairs.query_scope[i] != pairs.key_scope[j]):
            continue
        (positives if weight or pairs.query_group[i] == pairs.key_group[j] else negatives).append(similarity)
    return positives, negatives


@pytest.mark.parametrize("block", [1, 7, 256])
def test_penalties_are_those_of_the_naive_sums(block: int) -> None:
    queries, keys, pairs = tangled()
    result = penalties(queries, keys, pairs, TAUS, hardest=(1, 3), block=block)
    for t, tau in enumerate(TAUS):
        rows = []
        for i in range(len(queries)):
            positives, negatives = naive(queries, keys, pairs, i)
            assert result.negatives[i] == len(negatives)
            weights = sorted((math.exp(s / tau) for s in negatives), reverse=True)
            share = [value / math.fsum(weights) for value in weights]
            entropy = -math.fsum(r * math.log(r) for r in share if r > 0)
            positive_sum = math.fsum(math.exp(s / tau) for s in positives)
            positive = positive_sum / (positive_sum + math.fsum(weights))
            rows.append([entropy, entropy / math.log(len(negatives)), positive, share[0], sum(share[:3])])
        computed = [result.entropy, result.entropy_share, result.positive, result.hardest[1], result.hardest[3]]
        means = [math.fsum(column) / len(rows) for column in zip(*rows)]
        assert [float(part[t]) for part in computed] == pytest.approx(means, rel=1e-10)


@pytest.mark.parametrize("tau", TAUS)
def test_the_share_is_that_of_autograd_of_cross_entropy(tau: float) -> None:
    n, k = 32, 5
    queries, keys = vectors(n), vectors(n, seed=1)
    similarity = (queries @ keys.T).requires_grad_()
    cross_entropy(similarity / tau, torch.arange(n)).backward()
    gradient = similarity.grad
    assert gradient is not None
    assert gradient.sum(1).abs().max() < 1e-12 / tau  # the negatives' gradient equals the positive's
    off = gradient[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)
    hard = similarity.detach()[~torch.eye(n, dtype=torch.bool)].view(n, n - 1).topk(k).indices
    share = off.gather(1, hard).sum(1) / off.sum(1)
    result = penalties(queries, keys, Pairs.aligned(n), [tau], hardest=(k,))
    torch.testing.assert_close(result.hardest[k][0], share.mean(), rtol=1e-9, atol=0)
    positive = (similarity.detach() / tau).softmax(1).diagonal().mean()
    torch.testing.assert_close(result.positive[0], positive, rtol=1e-9, atol=0)


def test_the_share_is_that_of_infonce() -> None:
    n, k, tau = 24, 3, 0.2
    similarity = vectors(n) @ vectors(n, seed=1).T
    rows = torch.arange(n)
    known = Known(torch.tensor([0, 0, 8, 4]), torch.tensor([3, 7, 5, 1]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    pairs = Pairs(rows, rows, rows, rows + n, known=known)
    keys = similarity.T.clone().requires_grad_()  # against unit axes as queries, its entries are the similarities
    queries = torch.eye(n, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(InfoNCE(temperature=tau, symmetric=False)(queries, keys, pairs), keys)
    negative = ~torch.eye(n, dtype=torch.bool)
    negative[known.rows, known.columns] = False
    negative_gradient = torch.where(negative, gradient.T, 0.0)
    hard = similarity.masked_fill(~negative, -2).topk(k).indices
    result = penalties(queries, keys.detach(), pairs, [tau], hardest=(k,))
    share = negative_gradient.gather(1, hard).sum(1) / negative_gradient.sum(1)
    torch.testing.assert_close(result.hardest[k][0], share.mean(), rtol=1e-9, atol=0)
    assert result.negatives.tolist() == negative.sum(1).tolist()


def test_the_limits_are_what_very_small_and_very_large_temperatures_come_to() -> None:
    queries, keys, pairs = tangled()
    limits = penalties(queries, keys, pairs, [0, math.inf])
    extremes = penalties(queries, keys, pairs, [1e-7, 1e9])
    for name in ("entropy", "entropy_share", "positive"):
        torch.testing.assert_close(getattr(limits, name), getattr(extremes, name), rtol=1e-6, atol=1e-9)
    assert limits.hardest[1].tolist() == pytest.approx([1.0, float((1 / limits.negatives.double()).mean())])
    assert limits.hardest[100].tolist() == pytest.approx([1.0, 1.0])
    assert limits.entropy_share.tolist() == pytest.approx([0.0, 1.0])


def test_ties_share_the_limit() -> None:
    queries = torch.ones(3, 2)
    result = penalties(queries, torch.ones(3, 2), Pairs.aligned(3), [0.0, 1.0])
    assert result.hardest[1].tolist() == pytest.approx([0.5, 0.5])
    assert result.positive.tolist() == pytest.approx([1 / 3, 1 / 3])


def test_no_temperature_overflows() -> None:
    queries, keys = 1e4 * vectors(8), 1e4 * vectors(8, seed=1)
    result = penalties(queries, keys, Pairs.aligned(8), [1e-30, 1e-3, 1e30])
    for part in (result.entropy, result.entropy_share, result.positive, *result.hardest.values()):
        assert bool(torch.isfinite(part).all())
        assert bool((part >= 0).all())


def test_what_cannot_be_measured_is_named() -> None:
    queries = vectors(4)
    for wrong in (-0.1, math.nan):
        with pytest.raises(InputError, match="temperatures must be 0 or more"):
            penalties(queries, queries, Pairs.aligned(4), [wrong])
    with pytest.raises(InputError, match=r"pairs are \(3, 3\)"):
        penalties(queries, queries, Pairs.aligned(3), [0.1])
    with pytest.raises(InputError, match="queries 0, 1 have fewer than two negatives"):
        penalties(queries[:2], queries[:2], Pairs.aligned(2), [0.1])
    alone = torch.arange(4)
    with pytest.raises(InputError, match="queries 2, 3 have no positive"):
        groups = torch.tensor([0, 1, 7, 8])
        penalties(queries, queries, Pairs(groups, alone, alone, alone + 4), [0.1], block=2)


def test_tolerance_is_the_mean_within_classes() -> None:
    x, labels = vectors(20), torch.arange(20) % 6
    same = [float(x[i] @ x[j]) for i in range(20) for j in range(20) if i != j and labels[i] == labels[j]]
    assert float(tolerance(x, labels)) == pytest.approx(math.fsum(same) / len(same), rel=1e-12)
    with pytest.raises(InputError, match="no two of 20 vectors share a class"):
        tolerance(x, torch.arange(20))
    with pytest.raises(InputError, match=r"labels must be \(20,\)"):
        tolerance(x, labels[:3])
