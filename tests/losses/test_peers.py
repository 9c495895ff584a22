"""Losses against torch's own pieces, on plain aligned pairs."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.barlow_twins import BarlowTwins
from nearfar.losses.cluster_swap import ClusterSwap
from nearfar.losses.cosent import CoSENT
from nearfar.losses.cosine_regression import CosineRegression
from nearfar.losses.distill import Distill
from nearfar.losses.triplet import Triplet
from nearfar.losses.vicreg import VICReg
from nearfar.pairs import Known, Pairs
from tests.losses.batches import unit

N, D = 16, 6
Q, K = unit(N, D, 0), unit(N, D, 1)
PAIRS = Pairs.aligned(N)


def with_known(known: Known, pairs: Pairs = PAIRS) -> Pairs:
    return Pairs(pairs.query_group, pairs.query_item, pairs.key_group, pairs.key_item, known=known)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_cosine_regression() -> None:
    close(CosineRegression()(3 * Q / 3, K, PAIRS), 2 - 2 * F.cosine_similarity(Q, K).mean())


def test_vicreg_as_its_authors_wrote_it() -> None:
    def off(z: Tensor) -> Tensor:
        return z.T.cov()[~torch.eye(D, dtype=torch.bool)].square().sum() / D

    x, y = 3 * Q, K
    variance = sum(F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean() / 2 for z in (x, y))
    close(VICReg()(x, y, PAIRS), 25 * F.mse_loss(x, y) + 25 * variance + off(x) + off(y))


def test_barlow_twins_as_its_authors_wrote_it() -> None:
    norm = torch.nn.BatchNorm1d(D, affine=False).double()
    c = norm(3 * Q).T @ norm(K) / N
    on, off = (c.diagonal() - 1).square().sum(), c[~torch.eye(D, dtype=torch.bool)].square().sum()
    close(BarlowTwins()(3 * Q, K, PAIRS), on + 5e-3 * off)


def test_a_constant_dimension_of_barlow_twins_is_finite() -> None:
    q = torch.cat([Q[:, 1:], torch.ones(N, 1)], 1).requires_grad_()
    BarlowTwins()(q, K, PAIRS).backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_triplet_with_one_negative() -> None:
    other = K.flip(0)
    distance = lambda a, b: 1 - F.cosine_similarity(a, b)  # noqa: E731
    wanted = F.triplet_margin_with_distance_loss(Q, K, other, distance_function=distance, margin=0.3)
    scope = torch.arange(N)
    ids = scope, scope, torch.cat([scope, scope + N]), torch.arange(N, 3 * N)
    pairs = Pairs(*ids, query_scope=scope, key_scope=torch.cat([scope, scope]))
    for negatives in ("semihard", "hardest", "all"):
        close(Triplet(0.3, negatives)(Q, torch.cat([K, other]), pairs), wanted)


def test_distillation_by_kl() -> None:
    teacher = torch.rand(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 9
    i, j = torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    ours = Distill(teacher_temperature=2.0)(Q, K, with_known(Known(i, j, teacher.flatten())))
    close(ours, F.kl_div((Q @ K.T / 0.05).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean"))


def test_distillation_of_margins() -> None:
    rows, teacher = torch.arange(N), torch.rand(N, 2, dtype=torch.float64) * 9
    other = rows.roll(1)
    known = Known(torch.cat([rows, rows]), torch.cat([rows, other]), teacher.T.flatten())
    ours = Distill("margin_mse", temperature=1.0)(Q, K, with_known(known))
    close(ours, F.mse_loss((Q * K).sum(1) - (Q * K[other]).sum(1), teacher[:, 0] - teacher[:, 1]))


@pytest.mark.parametrize("form", ["kl", "margin_mse"])
def test_distillation_ignores_a_shift_of_a_querys_scores(form: Literal["kl", "margin_mse"]) -> None:
    i, j = torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    scores, shift = torch.rand(N, N, dtype=torch.float64) * 9, torch.rand(N, 1, dtype=torch.float64) * 100
    loss = Distill(form)
    plain, shifted = (loss(Q, K, with_known(Known(i, j, t.flatten()))) for t in (scores, scores + shift))
    close(shifted, plain)


def test_margins_want_a_positive_and_something_else() -> None:
    rows = torch.arange(N)
    for columns, what in ((rows.roll(1), "no listed key of their own group"), (rows, "no listed other key")):
        with pytest.raises(InputError, match=rf"{what}.*16 rows of the batch \(0, 1"):
            Distill("margin_mse")(Q, K, with_known(Known(rows, columns, torch.ones(N))))
    with pytest.raises(InputError, match="nothing to compare"):
        Distill()(Q, K, with_known(Known(rows, rows, torch.ones(N))))


def test_cosent_wants_two_grades() -> None:
    rows = torch.arange(N)
    with pytest.raises(InputError, match=r"nothing to order.*all 16 pairs.*grade 2.5"):
        CoSENT()(Q, K, with_known(Known(rows, rows, torch.full((N,), 2.5))))


def test_what_needs_two_rows_says_so() -> None:
    for loss in (VICReg(), BarlowTwins()):
        with pytest.raises(InputError, match="needs two distinct"):
            loss(Q[:1], K[:1], Pairs.aligned(1))


def test_cluster_codes_fill_the_prototypes_evenly() -> None:
    codes = ClusterSwap(D, 5, iterations=100)._codes(torch.rand(N, 5, dtype=torch.float64), torch.ones(N).double())
    close(codes.sum(1), torch.ones(N, dtype=torch.float64))
    torch.testing.assert_close(codes.mean(0), torch.full((5,), 0.2, dtype=torch.float64), rtol=1e-4, atol=0)


def test_cluster_swap_names_the_dimension() -> None:
    with pytest.raises(InputError, match=r"cluster_swap\.dim is 5, the vectors are \(16, 6\)"):
        ClusterSwap(5)(Q, K, PAIRS)
