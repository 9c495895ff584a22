from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.tiled import relations
from nearfar.pairs import Known, Pairs
from tests.losses.references import infonce


@pytest.mark.parametrize("tile", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_positive_far_below_a_negative_is_a_large_loss_not_an_infinite_one(tile: int, dtype: torch.dtype) -> None:
    q = torch.eye(4)[:2].to(dtype)
    k = F.normalize(torch.tensor([[-0.35, 0.0, 0.9367, 0.0], [0.56, 0.5, 0.66, 0.0]])).to(dtype)
    want = infonce.reference(InfoNCE(0.01), q.double(), k.double(), Pairs.aligned(2))
    assert float(InfoNCE(0.01, tile=tile)(q, k, Pairs.aligned(2))) == pytest.approx(float(want), rel=1e-5)


def test_weights_of_any_size_are_normalised() -> None:
    q, k = unit(2, 4, 0, torch.float64), unit(3, 4, 1, torch.float64)
    for small in (1.0, 1e-7, 1e-60):
        known = Known(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([1.0, 2.0], dtype=torch.float64) * small)
        pairs = Pairs(torch.tensor([0, 1]), torch.arange(2), torch.tensor([8, 9, 1]), torch.arange(3) + 9, known=known)
        with pytest.MonkeyPatch.context() as patch:
            listed = InfoNCE(0.1)(q.float(), k.float(), pairs)
            patch.setattr(relations, "LIST_LIMIT", 0)
            by_group = InfoNCE(0.1)(q.float(), k.float(), pairs)
        want = float(infonce.reference(InfoNCE(0.1), q, k, pairs))
        assert float(listed) == pytest.approx(want, rel=1e-5)
        assert float(by_group) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("tile", [2, 8])
def test_what_it_cannot_differentiate_it_refuses(tile: int) -> None:
    q, k = unit(6, 4).requires_grad_(), unit(6, 4, 1).requires_grad_()
    with pytest.raises(RuntimeError, match=r"once_differentiable|no second derivative"):
        (first,) = torch.autograd.grad(InfoNCE(tile=tile)(q, k, Pairs.aligned(6)), q, create_graph=True)
        first.square().sum().backward()


def test_keys_changed_before_the_backward_pass_are_noticed() -> None:
    q, k = unit(6, 4).requires_grad_(), unit(6, 4, 1)
    loss = InfoNCE(tile=2)(q, k, Pairs.aligned(6))
    k.mul_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_resolved_relations_go_with_their_pairs_and_follow_their_ids() -> None:
    pairs = replace(Pairs.aligned(4), key_group=torch.arange(4))
    q, k = unit(4, 3), unit(4, 3, 1)
    before = float(InfoNCE()(q, k, pairs))
    pairs.key_group.copy_(torch.tensor([1, 0, 3, 2]))
    assert float(InfoNCE()(q, k, pairs)) == pytest.approx(float(InfoNCE()(q, k[[1, 0, 3, 2]], Pairs.aligned(4))))
    assert float(InfoNCE()(q, k, pairs)) != pytest.approx(before)
    alive = weakref.ref(pairs)
    gc.disable()
    try:
        del pairs
        assert alive() is None
    finally:
        gc.enable()


def unit(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def gradients(q: Tensor, k: Tensor, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, k = q.clone().requires_grad_(), k.clone().requires_grad_()
    loss = InfoNCE(tile=256, **settings)(q, k, Pairs.aligned(len(q)))
    return loss.detach(), *torch.autograd.grad(loss, (q, k))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale, noise", [(5, 0.3), (20, 0.3), (60, 0.3), (100, 0.3), (20, 3.0), (45, 3.0), (100, 3.0)])
def test_half_precision_stays_close(scale: float, dtype: torch.dtype, noise: float) -> None:
    """Easy batches (noise 0.3) are the hard ones for rounding: what is left of the loss at scale 20 is 3e-5."""
    q = unit(600, 64)
    k = F.normalize(q + noise * unit(600, 64, 1) / 2)
    exact = gradients(q.double(), k.double(), temperature=1 / scale)
    with torch.autocast("cpu", dtype):
        half = gradients(q, k, temperature=1 / scale)
    assert torch.isfinite(half[0])
    for got, want in zip(half[1:], exact[1:], strict=True):
        assert float((got - want).norm() / want.norm()) < 0.03


def test_half_precision_vectors_at_scale_100_are_finite() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        loss, *grads = gradients(unit(64, 8, 0, dtype), unit(64, 8, 1, dtype), temperature=0.01)
        assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in grads)


def test_a_duplicate_document_changes_nothing() -> None:
    q, k = unit(6, 4, 0, torch.float64), unit(6, 4, 1, torch.float64)
    pairs = Pairs.aligned(6)
    groups, items = torch.cat([pairs.key_group, torch.tensor([2])]), torch.cat([pairs.key_item, torch.tensor([8])])
    copy = Pairs(pairs.query_group, pairs.query_item, groups, items)
    loss = InfoNCE()
    assert float(loss(q, torch.cat([k, k[2:3]]), copy)) == pytest.approx(float(loss(q, k, pairs)), abs=1e-12)


def test_permuting_rows_permutes_gradients() -> None:
    q, k = unit(40, 8, 0, torch.float64), unit(40, 8, 1, torch.float64)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    _, grad_q, grad_k = gradients(q, k)
    _, again_q, again_k = gradients(q[order], k[order])
    assert torch.allclose(again_q, grad_q[order], atol=1e-12)
    assert torch.allclose(again_k, grad_k[order], atol=1e-12)


def test_rows_without_positives_or_negatives_are_named() -> None:
    q = unit(3, 4)
    lonely = Pairs(torch.tensor([0, 1, 9]), torch.arange(3), torch.arange(3), torch.arange(3, 6))
    with pytest.raises(InputError, match=r"without a positive.*1 rows of the batch \(2\)"):
        InfoNCE()(q, q, lonely)
    same = Pairs(
        torch.zeros(3, dtype=torch.int64), torch.arange(3), torch.zeros(3, dtype=torch.int64), torch.arange(3, 6)
    )
    with pytest.raises(InputError, match=r"no query has a negative.*\(0, 1, 2\)"):
        InfoNCE()(q, q, same)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_temperature_must_be_a_positive_number(bad: float) -> None:
    with pytest.raises(InputError, match=r"infonce\.temperature"):
        InfoNCE(bad)


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="one d"):
        InfoNCE()(unit(3, 4), unit(3, 5), Pairs.aligned(3))
    with pytest.raises(InputError, match="3 queries"):
        InfoNCE()(unit(4, 4), unit(4, 4), Pairs.aligned(3))
    ids = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(InputError, match="int64"):
        Pairs(torch.zeros(2), ids, ids, ids)
    with pytest.raises(InputError, match=r"known\.rows"):
        Pairs(ids, ids, ids, ids, known=Known(torch.tensor([2]), torch.tensor([0]), torch.ones(1)))


def test_a_learnt_temperature_is_clamped() -> None:
    loss = InfoNCE(0.05, learnable=True)
    with torch.no_grad():
        loss.scale.log.fill_(9.0)
    loss.scale.after_step(torch.empty(0), torch.empty(0))
    assert loss.temperature == pytest.approx(0.01)


@pytest.mark.parametrize("temperature", [1 / 117, 2.0])
def test_a_learnt_temperature_outside_the_range_stays_where_it_began(temperature: float) -> None:
    loss = InfoNCE(temperature, learnable=True)
    loss.scale.after_step(torch.empty(0), torch.empty(0))
    assert loss.temperature == pytest.approx(temperature)
