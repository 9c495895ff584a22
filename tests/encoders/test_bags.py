from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import embedding_bag

from nearfar.encoders.reading.bags import Bags, bag_sum, thinned, transposed

VOCABULARY = 7
TEXTS = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=6), max_size=6)


def bags(texts: list[list[int]], vocabulary: int = VOCABULARY) -> Bags:
    ids = np.array([token for text in texts for token in text], np.int32)
    return Bags.of(ids, np.array([len(text) for text in texts], np.int64), vocabulary)


def weights_by_token(some: Bags) -> list[dict[int, float]]:
    """Each text's tokens and weights."""
    bounds = some.offsets.tolist()
    return [dict(zip(some.tokens[a:b].tolist(), some.weights[a:b].tolist(), strict=True)) for a, b in pairwise(bounds)]


def expected(texts: list[list[int]]) -> list[Any]:
    return [pytest.approx({t: text.count(t) / len(text) for t in set(text)}, abs=1e-7) for text in texts]


@settings(deadline=None)
@given(TEXTS)
def test_weights_are_shares(texts: list[list[int]]) -> None:
    some = bags(texts)
    assert len(some) == len(texts)
    assert weights_by_token(some) == expected(texts)
    assert some.costs().tolist() == [len(set(text)) for text in texts]
    assert (some.tokens.dtype, some.weights.dtype, some.offsets.dtype) == (torch.int64, torch.float32, torch.int64)


@settings(deadline=None)
@given(TEXTS, st.integers(-7, 7) | st.none(), st.integers(-7, 7) | st.none())
def test_a_slice_is_that_of_the_texts(texts: list[list[int]], start: int | None, stop: int | None) -> None:
    part = bags(texts)[start:stop]
    assert weights_by_token(part) == expected(texts[start:stop])
    assert part.offsets[0] == 0


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_joined_they_are_one_after_the_other(parts: list[list[list[int]]]) -> None:
    first, *others = [bags(texts) for texts in parts]
    joined = first.join(others).to("cpu")
    assert weights_by_token(joined) == expected([text for texts in parts for text in texts])
    assert joined.offsets[-1] == len(joined.tokens)


def naive(table: torch.Tensor, texts: list[list[int]]) -> torch.Tensor:
    """torch's mean over the raw tokens, repeated ones too."""
    flat = torch.tensor([token for text in texts for token in text])
    offsets = torch.tensor([0, *np.cumsum([len(text) for text in texts])])
    return embedding_bag(flat, table, offsets, mode="mean", include_last_offset=True)


def drawn(vocabulary: int, n: int, seed: int) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, vocabulary, draw.integers(1, 12)).tolist() * int(draw.integers(1, 3)) for _ in range(n)]


@pytest.mark.parametrize("vocabulary", [50, 65_536, 65_537, 70_000])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_sum_and_gradient_are_torchs_own(vocabulary: int, kind: torch.dtype) -> None:
    texts = [*drawn(vocabulary, 40, seed=1), [vocabulary - 1], [0, 0]]
    table = torch.randn(vocabulary, 3, dtype=kind, generator=torch.Generator().manual_seed(0)).requires_grad_()
    direction = torch.randn(42, 3, dtype=kind, generator=torch.Generator().manual_seed(1))
    value = bag_sum(table, bags(texts, vocabulary))
    (gradient,) = torch.autograd.grad((value * direction).sum(), table)
    wanted = naive(table, texts)
    (wanted_gradient,) = torch.autograd.grad((wanted * direction).sum(), table)
    assert value.dtype == gradient.dtype == kind
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_small_differences() -> None:
    texts = [[0, 0, 3], [3, 4], [6], [1, 2, 3, 3, 3]]
    exact = Bags(bags(texts).tokens, bags(texts).weights.double(), bags(texts).offsets)
    table = torch.randn(VOCABULARY, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda t: bag_sum(t, exact), table.requires_grad_())


def test_without_a_gradient_the_sum_is_the_same() -> None:
    table, some = torch.randn(VOCABULARY, 4), bags([[0, 1, 1], [5]])
    with torch.inference_mode():
        plain = bag_sum(table, some)
    assert torch.equal(plain, bag_sum(table.requires_grad_(), some))


def test_a_second_gradient_is_refused_not_wrong() -> None:
    table = torch.randn(VOCABULARY, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(bag_sum(table, bags([[0, 1]])).square().sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@settings(deadline=None)
@given(TEXTS)
def test_transposed_every_token_has_its_texts(texts: list[list[int]]) -> None:
    rows, weights, offsets = transposed(bags(texts), VOCABULARY)
    found = weights_by_token(Bags(rows, weights, offsets))
    assert len(found) == VOCABULARY
    for token in range(VOCABULARY):
        holding = {i: text.count(token) / len(text) for i, text in enumerate(texts) if token in text}
        assert found[token] == pytest.approx(holding, abs=1e-7)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 99))
def test_thinned_bags_are_means_of_what_is_left_and_never_empty(texts: list[list[int]], seed: int) -> None:
    some = bags(texts)
    torch.manual_seed(seed)
    fewer = thinned(some, 0.5)
    for before, after, text in zip(weights_by_token(some), weights_by_token(fewer), texts, strict=True):
        assert after.keys() <= before.keys() and bool(after) == bool(text)
        total = sum(before[token] for token in after)
        assert after == pytest.approx({token: before[token] / total for token in after}, abs=1e-6)


def test_each_token_is_left_out_as_often_as_the_share_says() -> None:
    torch.manual_seed(0)
    fewer = thinned(bags([list(range(VOCABULARY))] * 20_000), 0.3)
    share = torch.bincount(fewer.tokens, minlength=VOCABULARY) / 20_000
    assert (share - 0.7).abs().max() < 5 * (0.7 * 0.3 / 20_000) ** 0.5 + 0.3**VOCABULARY
