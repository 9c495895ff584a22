"""Tiled cross-entropy over a vocabulary: equal to the naive one, whatever the shapes, with exact gradients."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from nearfar.errors import InputError
from nearfar.losses.tiled import vocabulary_tiles as tiled
from nearfar.losses.tiled.token_cross_entropy import (
    token_cross_entropy,
    token_cross_entropy_and_hits,
    token_log_probabilities,
)


def drawn(n: int, v: int, d: int, seed: int, size: float = 1.0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return states, embeddings and a bias with gradients, then targets."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [((n, d), size), ((v, d), 1.0), ((v,), 1.0)]
    made = [(torch.randn(shape, generator=generator, dtype=dtype) * by).requires_grad_() for shape, by in shapes]
    return [*made, torch.randint(v, (n,), generator=generator)]


def naive(states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the loss of each row and whether it is a hit, from all logits."""
    logits = states @ embeddings.T if bias is None else states @ embeddings.T + bias
    own = logits.gather(1, targets[:, None])[:, 0]
    above = logits.scatter(1, targets[:, None], -torch.inf).amax(1) if logits.numel() else own - 1
    return logits.logsumexp(1) - own, own > above


@settings(deadline=None)
@given(
    n=st.integers(0, 40),
    v=st.integers(1, 70),
    block=st.sampled_from([1, 7, 16, 64, 100]),
    rows=st.sampled_from([1, 5, 100]),
    with_bias=st.booleans(),
    size=st.sampled_from([1.0, 1000.0]),
    seed=st.integers(0, 99),
)
def test_value_and_gradients_are_those_of_all_logits(
    n: int, v: int, block: int, rows: int, with_bias: bool, size: float, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "BLOCK", block)
        patch.setattr(tiled, "TILE_BYTES", 1)
        patch.setattr(tiled, "LEAST_ROWS", rows)
        states, embeddings, bias, targets = drawn(n, v, 5, seed, size)
        given_bias = bias if with_bias else None
        wanted = [states, embeddings, *([bias] if with_bias else [])]
        losses, hits = naive(states, embeddings, targets, given_bias)
        total, hit_count = token_cross_entropy_and_hits(states, embeddings, targets, given_bias)
        log_p, hit_rows = token_log_probabilities(states, embeddings, targets, given_bias)
        expected = [losses.sum(), *torch.autograd.grad(3 * losses.sum(), wanted)]
        found = [total, *torch.autograd.grad(3 * total, wanted)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * size)
    torch.testing.assert_close(log_p, -losses.detach(), rtol=1e-10, atol=1e-10 * size)
    assert torch.equal(hit_rows, hits)
    assert int(hit_count) == int(hits.sum())


@pytest.mark.parametrize("size", [1.0, 300.0])
def test_gradcheck(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(tiled, "BLOCK", 4)
    monkeypatch.setattr(tiled, "LEAST_ROWS", 3)
    monkeypatch.setattr(tiled, "TILE_BYTES", 1)
    states, embeddings, bias, targets = drawn(7, 11, 3, 0)
    assert torch.autograd.gradcheck(
        lambda h, e, b: token_cross_entropy(h * size, e / size * 1.5, targets, b), (states, embeddings, bias)
    )


def test_at_the_size_of_a_model_it_is_torchs_own() -> None:
    states, embeddings, bias, targets = drawn(300, 5000, 64, 1)
    expected = cross_entropy(states @ embeddings.T + bias, targets, reduction="sum")
    found = token_cross_entropy(states, embeddings, targets, bias)
    wanted = (states, embeddings, bias)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for one, other in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", ["states", "autocast"])
def test_bf16_rounds_like_torch_and_keeps_the_types_of_what_it_is_given(how: str) -> None:
    exact = drawn(200, 3000, 64, 2, 0.3)
    states, embeddings, bias, targets = (x.detach().float() if x.is_floating_point() else x for x in exact)
    states = (states.bfloat16() if how == "states" else states).requires_grad_()
    embeddings, bias = embeddings.requires_grad_(), bias.requires_grad_()
    wanted = (states, embeddings, bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = token_cross_entropy(states, embeddings, targets, bias)
    assert found.dtype == torch.float32
    expected = naive(exact[0], exact[1], targets, exact[2])[0].sum()
    assert abs(found.item() / expected.item() - 1) < 2e-3
    gradients = torch.autograd.grad(found, wanted)
    for x, one, other in zip(wanted, gradients, torch.autograd.grad(expected, exact[:3]), strict=True):
        assert one.dtype == x.dtype
        assert float((one.double() - other).norm() / other.norm()) < 1e-2


def test_a_certain_token_has_a_small_exact_loss() -> None:
    """Two tokens have e^-50 of the probability of the first, which a difference of logits would lose."""
    states, embeddings = torch.eye(2)[:1] * 50, torch.cat([torch.eye(2), -torch.eye(2)])
    found = token_cross_entropy(states, embeddings, torch.tensor([0]))
    assert found.item() == pytest.approx(2 * math.exp(-50))


def test_equal_logits_hit_nothing() -> None:
    embeddings, targets = torch.zeros(9, 4), torch.arange(5)
    _, hits = token_cross_entropy_and_hits(torch.randn(5, 4), embeddings, targets)
    assert int(hits) == 0


def test_frozen_embeddings_get_no_gradient() -> None:
    states, embeddings, _, targets = drawn(4, 6, 3, 0)
    token_cross_entropy(states, embeddings.detach(), targets).backward()
    assert states.grad is not None


def test_there_is_no_second_derivative() -> None:
    states, embeddings, _, targets = drawn(4, 6, 3, 0)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(token_cross_entropy(states, embeddings, targets), states, create_graph=True)


def test_states_that_are_not_finite_are_a_loss_that_is_not_and_named_where_nothing_trains() -> None:
    states, embeddings, _, targets = (x.detach() for x in drawn(6, 9, 3, 0))
    states[4, 1] = torch.nan
    assert not token_cross_entropy(states, embeddings, targets).isfinite()
    with pytest.raises(InputError, match=re.escape("no finite log-probability: 1 rows of the batch (4)")):
        token_log_probabilities(states, embeddings, targets)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": torch.tensor([0, 9, 3, -1])}, "2 rows of the batch (1, 3)"),
        ({"targets": torch.tensor([0, 9, 3, -1])}, "the first is 9; tokens are 0 to 8"),
        ({"targets": torch.tensor([0, 1])}, "targets (2,)"),
        ({"targets": torch.zeros(4)}, "whole numbers"),
        ({"states": torch.zeros(4, 5)}, "states (4, 5)"),
        ({"embeddings": torch.zeros(0, 3)}, "embeddings (0, 3)"),
        ({"bias": torch.zeros(8)}, "bias (8,)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor], words: str) -> None:
    fine = {"states": torch.zeros(4, 3), "embeddings": torch.zeros(9, 3), "targets": torch.arange(4)}
    with pytest.raises(InputError, match=re.escape(words)):
        token_cross_entropy(**(fine | change))
