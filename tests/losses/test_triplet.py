from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses import triplet
from nearfar.losses.tiled import lists
from nearfar.losses.triplet import Triplet
from nearfar.pairs import Pairs
from tests.losses.batches import Drawn, batches, unit
from tests.losses.references.triplet import reference


@settings(max_examples=100, deadline=None)
@given(batches(), st.sampled_from(["semihard", "hardest", "all"]), st.integers(1, 5), st.sampled_from([0, 1]))
def test_row_blocks_and_sorting_change_nothing(batch: Drawn, negatives: Any, block: int, few: int) -> None:
    q, k, pairs = batch
    loss = Triplet(0.5, negatives)
    try:
        reference(loss, q, k, pairs)
    except InputError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "ROW_BLOCK", block)
        patch.setattr(triplet, "FEW", few)
        q, k = q.requires_grad_(), k.requires_grad_()
        ours, theirs = loss(q, k, pairs), reference(loss, q, k, pairs)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        for got, want in zip(*(torch.autograd.grad(x, (q, k)) for x in (ours, theirs)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_a_semi_hard_negative_is_the_closest_that_is_farther() -> None:
    q = torch.tensor([[1.0, 0.0]])
    k = torch.tensor([[0.8, 0.0], [0.9, 0.0], [0.7, 0.0], [-1.0, 0.0]])  # the positive, then three negatives
    ids = torch.tensor([0]), torch.tensor([10]), torch.tensor([0, 1, 2, 3]), torch.arange(4)
    assert float(Triplet(0.2)(q, k, Pairs(*ids))) == pytest.approx(0.7 - 0.8 + 0.2)
    assert float(Triplet(0.2, "hardest")(q, k, Pairs(*ids))) == pytest.approx(0.9 - 0.8 + 0.2)
    assert float(Triplet(0.2, "all")(q, k, Pairs(*ids))) == pytest.approx((0.3 + 0.1 + 0.0) / 3)
    only_closer = Pairs(ids[0], ids[1], torch.tensor([0, 1, 0, 0]), ids[3])
    assert float(Triplet(0.2)(q, k[[0, 1]], Pairs(ids[0], ids[1], ids[2][:2], ids[3][:2]))) == pytest.approx(0.3)
    assert float(Triplet(0.2, "hardest")(q, k, only_closer)) > 0


def test_memory_is_that_of_row_blocks() -> None:
    n = 1500
    held: list[int] = []

    def pack(x: Tensor) -> Tensor:
        held.append(x.numel())
        return x

    q, k = unit(n, 4, 0).requires_grad_(), unit(n, 4, 1).requires_grad_()
    for negatives in ("semihard", "hardest", "all"):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            Triplet(0.2, negatives)(q, k, Pairs.aligned(n)).backward()
    assert max(held) <= 256 * n


def test_unknown_negatives_are_refused() -> None:
    with pytest.raises(InputError, match=r"triplet\.negatives"):
        Triplet(negatives="softest")  # type: ignore[arg-type]
