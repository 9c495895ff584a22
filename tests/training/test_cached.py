"""The gradient cache: the same gradient as the plain step, whatever the micro-batches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.column import ListColumn
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Pairs
from nearfar.training.encode import CachedBatch, RowEncoder, micro_batches
from nearfar.training.settings import Settings
from tests.training.floats import CPU, Floats, Perceptron, batch, comparing, learnt, loss, pairs_for, prepared
from tests.training.runs import train, weights

TEXTS = ["pull near, push far", "near", "a dog runs on the grass", "what is far is far", "two words", "push"]
CUTS: list[dict[str, Any]] = [
    *({"micro_batch": size} for size in (1, 3, 7, 25, 100)),
    *({"micro_cost": cost} for cost in (1, 9, 40)),
    {"micro_batch": 4, "micro_cost": 12},
]


def same(found: dict[str, Tensor], expected: dict[str, Tensor], close: float) -> None:
    """Compare relative to the largest number, because some gradients are zero but for rounding."""
    assert found.keys() == expected.keys()
    scale = max(value.abs().max().item() for name, value in expected.items() if name not in ("loss", "queries"))
    for name, value in expected.items():
        torch.testing.assert_close(found[name] / scale, value / scale, rtol=close, atol=close)


@pytest.mark.parametrize("name", comparing())
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_any_cut_gives_the_plain_gradient(name: str, dtype: torch.dtype, close: float) -> None:
    part = loss(name).to(dtype)
    if not part.cacheable:
        pytest.skip("it is refused")
    encoder, whole = Perceptron(dtype=dtype), prepared(batch(), pairs_for(part))

    def gradients(**cut: Any) -> dict[str, Tensor]:
        return learnt(copy.deepcopy(encoder), copy.deepcopy(part), whole, **cut)

    expected = gradients()
    for cut in CUTS:
        same(gradients(**cut), expected, close)


@pytest.mark.parametrize("norm", [False, True], ids=["", "batch norm"])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_with_dropout_it_is_the_same_cut_with_the_graph_kept(cut: dict[str, Any], norm: bool) -> None:
    """Random numbers, buffers and the numbers drawn afterwards are those of one forward pass."""
    encoder, other = Perceptron(dropout=0.5, norm=norm), Perceptron(dropout=0.5, norm=norm)
    rows, pairs = batch(), Pairs.aligned(13)
    stacked = prepared(rows, pairs).trained
    assert stacked is not None
    inputs = stacked.inputs
    if norm and any(part.stop - part.start < 2 for part in micro_batches(inputs, Settings(**cut))):
        pytest.skip("one row has no variance")
    torch.manual_seed(5)
    found = learnt(encoder, InfoNCE(learnable=True), prepared(rows, pairs), **cut)
    after = torch.rand(3)
    torch.manual_seed(5)
    with_graph = other.train()
    parts = [with_graph(inputs[part]) for part in micro_batches(inputs, Settings(**cut))]
    x, y = torch.nn.functional.normalize(torch.cat(parts), dim=1).split(13)
    torch.autograd.backward(InfoNCE(learnable=True)(x, y, pairs))
    for name, parameter in with_graph.named_parameters():
        torch.testing.assert_close(found[f"encoder.{name}"], parameter.grad, rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.rand(3), after)
    for (name, buffer), (_, expected) in zip(encoder.named_buffers(), with_graph.named_buffers(), strict=True):
        assert torch.equal(buffer, expected), name


def test_tokens_and_numbers_that_are_left_out_are_the_same_in_both_passes() -> None:
    """The gradient is that of the very vectors that the loss saw; evaluation leaves nothing out."""
    static = Static(dim=8, vocabulary=300, token_dropout=0.5)
    encoder = Projected(static, Mlp(dim=8, sizes=[4], norm="none"), dropout=0.5)
    encoder.prepare([ListColumn("text", TEXTS)])
    encoder.double().train()
    encode, inputs = RowEncoder(encoder, True, CPU, "fp32"), encoder.inputs(TEXTS)
    parts = [slice(0, 2), slice(2, 3), slice(3, len(TEXTS))]
    weights = torch.randn(len(TEXTS), 4, dtype=torch.float64)
    torch.manual_seed(7)
    cached = CachedBatch(encode, inputs, parts)
    (cached.vectors * weights).sum().backward()
    cached.backward()
    found = {name: each.grad.clone() for name, each in encoder.named_parameters() if each.grad is not None}
    encoder.zero_grad()
    torch.manual_seed(7)
    kept = torch.cat([encode(inputs[part]) for part in parts])
    assert torch.equal(kept, cached.vectors)
    (kept * weights).sum().backward()
    assert len(found) == len(list(encoder.parameters()))
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-14)  # added part by part
    assert not torch.equal(encode(inputs), kept)
    encoder.eval()
    assert torch.equal(encode(inputs), encode(inputs))


def test_no_graph_is_kept_between_the_passes() -> None:
    cached = CachedBatch(
        RowEncoder(Perceptron(), True, CPU, "fp32"), Floats(batch()["query"]), [slice(0, 5), slice(5, 13)]
    )
    assert cached.vectors.is_leaf
    assert cached.vectors.grad_fn is None


def test_an_encoder_that_does_not_learn_is_not_encoded_again() -> None:
    found = learnt(
        Perceptron().requires_grad_(False),
        InfoNCE(learnable=True),
        prepared(batch(), Pairs.aligned(13)),
        micro_batch=2,
    )
    assert [name for name in found if name.startswith("encoder")] == []


class Costed:
    def __init__(self, costs: list[int]) -> None:
        self.row_costs = costs

    def __len__(self) -> int:
        return len(self.row_costs)

    def costs(self) -> Any:
        return torch.tensor(self.row_costs, dtype=torch.int64)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(0, 8), st.integers(0, 30))
def test_micro_batches_are_as_large_as_allowed(costs: list[int], rows: int, budget: int) -> None:
    inputs: Any = Costed(costs)
    parts = micro_batches(inputs, Settings(micro_batch=rows, micro_cost=budget))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(costs)))

    def fits(start: int, stop: int) -> bool:
        size = stop - start
        return size == 1 or (size <= (rows or size) and (not budget or size * max(costs[start:stop]) <= budget))

    for i, part in enumerate(parts):
        assert fits(part.start, part.stop)
        assert i + 1 == len(parts) or not fits(part.start, part.stop + 1)


class NotCacheable(InfoNCE):
    cacheable = False


@pytest.mark.parametrize("part", [NotCacheable()])
@pytest.mark.parametrize("cut", [{"micro_batch": 4}, {"micro_cost": 4}], ids=str)
def test_what_cannot_be_cached_is_refused_by_name(tmp_path: Any, part: Any, cut: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"test_cached:{type(part).__name__} is not a function of the batch's vectors"):
        train(tmp_path / "run", loss=part, **cut)
    assert not (tmp_path / "run").exists()


def test_a_run_by_micro_batches_ends_where_the_plain_one_does(tmp_path: Any) -> None:
    plain = train(tmp_path / "a", loss=InfoNCE(learnable=True), optimizer="sgd")
    cached = train(tmp_path / "b", loss=InfoNCE(learnable=True), optimizer="sgd", micro_cost=40, micro_batch=5)
    assert weights(cached) == pytest.approx(weights(plain), rel=1e-4, abs=1e-6)
    with pytest.warns(UserWarning, match="had micro_batch 0 and has 3 now: it goes on, but not to the same last digit"):
        train(tmp_path / "a", loss=InfoNCE(learnable=True), optimizer="sgd", micro_batch=3, resume=True)
