"""Packed attention against plain attention, text by text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.encoders.packed import attention
from nearfar.encoders.packed.attention import AttentionOptions, packed_attention
from nearfar.encoders.packed.bf16_layers import Dropout, byte_dropout, effective_rate
from nearfar.encoders.packed.packing import Packing

Inputs = tuple[Tensor, Tensor, Tensor]  # q, k, v


def naive(q: Tensor, k: Tensor, v: Tensor, packing: Packing, options: AttentionOptions) -> Tensor:
    """Return attention of each text alone, (t, heads, d)."""
    outs = []
    for start, length in zip(packing.starts.tolist(), packing.lengths.tolist()):
        a, b, c = (x[start : start + length].transpose(0, 1) for x in (q, k, v))  # (heads, length, d)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        masked = distance.abs() >= options.window if options.window else torch.zeros_like(distance, dtype=torch.bool)
        masked = masked | (distance < 0) if options.causal else masked
        scores = (options.scale * a @ b.transpose(1, 2)).masked_fill(masked, -torch.inf)
        outs.append((scores.softmax(-1) @ c).transpose(0, 1))
    return torch.cat(outs)


def drawn(lengths: list[int], heads: int = 2, d: int = 3, *, rounded: bool = False) -> tuple[Packing, Inputs]:
    packing = Packing.of(np.array(sorted(lengths, reverse=True)), rounded=rounded)
    generator = torch.Generator().manual_seed(0)
    shape = (sum(lengths) + packing.filler, heads, d)
    q, k, v = (torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3))
    return packing, (q, k, v)


LENGTHS = st.lists(st.one_of(st.integers(1, 9), st.sampled_from([130, 140])), min_size=1, max_size=7)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.booleans(), st.booleans(), st.sampled_from([None, 1, 3, 500]), st.sampled_from([50, 2**20]))
def test_it_is_each_texts_own_attention(
    lengths: list[int], rounded: bool, causal: bool, window: int | None, block: int
) -> None:
    packing, inputs = drawn(lengths, rounded=rounded)
    options = AttentionOptions(0.7, 0.0, causal, window)
    expected = naive(*inputs, packing, options)
    expected = torch.cat([expected, expected.new_zeros(packing.filler, *expected.shape[1:])])
    grad = torch.randn(expected.shape, dtype=torch.float64)
    expected_grads = torch.autograd.grad(expected, inputs, grad)
    before, attention.ATTENTION_BLOCK = attention.ATTENTION_BLOCK, block
    try:
        found = packed_attention(*inputs, packing, options)
        grads = torch.autograd.grad(found, inputs, grad)
    finally:
        attention.ATTENTION_BLOCK = before
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for actual, wanted in zip(grads, expected_grads):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-11)
    with torch.no_grad():
        q, k, v = (x[: sum(lengths)] for x in inputs)
        fused = attention._fused(q, k, v, packing, options)
    torch.testing.assert_close(fused, expected[: sum(lengths)], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [32, 80, 96])
def test_a_text_gets_the_same_beside_a_shorter_one(d: int, kind: torch.dtype) -> None:
    differ, length = [], 50
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(2 * length - 1, 2, d, generator=generator).to(kind) for _ in range(3))
        beside = packed_attention(q, k, v, Packing.of(np.array([length, length - 1])), AttentionOptions(d**-0.5))
        q, k, v = (x[:length] for x in (q, k, v))
        differ.append(packed_attention(q, k, v, Packing.of(np.array([length])), AttentionOptions(d**-0.5)))
        differ[-1] = (differ[-1] != beside[:length]).float()
    assert torch.stack(differ).mean() < 0.05, "half of the entries, where the scale was applied in another place"


@pytest.mark.parametrize("lengths", [[4, 4, 4], [5, 3, 2, 2]])
def test_with_dropout_its_gradient_is_that_of_what_it_computes(lengths: list[int]) -> None:
    packing, inputs = drawn(lengths)

    def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(3)
        return packed_attention(q, k, v, packing, AttentionOptions(0.5, 0.3))

    assert torch.autograd.gradcheck(attended, inputs)
    torch.manual_seed(4)
    assert not torch.equal(attended(*inputs), packed_attention(*inputs, packing, AttentionOptions(0.5, 0.3)))


def test_dropout_in_attention_leaves_the_mean() -> None:
    packing, inputs = drawn([6, 6])
    with torch.no_grad():
        many = torch.stack([packed_attention(*inputs, packing, AttentionOptions(1.0, 0.25)) for _ in range(3_000)])
        plain = packed_attention(*inputs, packing, AttentionOptions(1.0))
    torch.testing.assert_close(many.mean(0), plain, rtol=0, atol=float(5 * many.std(0).max() / 3_000**0.5))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.001])
def test_masks_have_the_probability_they_say(kind: torch.dtype, p: float) -> None:
    mask = byte_dropout(np.random.SFC64(1), (700, 613), p, kind)
    size, rate = mask.numel(), effective_rate(p)
    assert set(mask.unique().tolist()) <= {0, torch.iinfo(mask.dtype).min}
    assert abs((mask < 0).sum().item() / size - rate) < 5 * (rate * (1 - rate) / size) ** 0.5
    assert abs(rate - p) <= max(1 / 512, 1 / 256 - p)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_backward_pass_has_the_same_dropout_mask(kind: torch.dtype) -> None:
    layer = Dropout(0.25)
    x = torch.randn(64, 33, dtype=kind).T.requires_grad_()  # not contiguous
    y = layer(x)
    dropped = y == 0
    assert 0.15 < dropped.float().mean() < 0.35
    torch.testing.assert_close(y[~dropped], (x / 0.75)[~dropped])
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(dropped, 0, 1 / 0.75).to(kind))
    assert torch.equal(layer.eval()(x), x)


def test_kinds_of_attention_that_are_not_supported_are_refused() -> None:
    packing, inputs = drawn([3, 2])
    q, k, v = (x.transpose(0, 1)[None] for x in inputs)
    with pytest.raises(attention.Unpackable, match="softcap"):
        attention.attention_function(torch.nn.Identity(), q, k, v, None, packing=packing, softcap=3.0)
    with pytest.raises(attention.Unpackable, match="mask"):
        attention.attention_function(torch.nn.Identity(), q, k, v, torch.ones(1), packing=packing)
