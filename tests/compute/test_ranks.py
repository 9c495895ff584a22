"""Several processes: shares, gathering with gradients, sums, decisions; and every loss over them."""

from __future__ import annotations

import copy
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nearfar.compute import ranks as module
from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError, Interrupted, RunError
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from tests.training.floats import Perceptron, batch, comparing, learnt, loss, pairs_for, prepared
from tests.training.runs import in_ranks


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_whole_in_order_and_even(n: int, world_size: int) -> None:
    spans = Ranks(0, world_size).spans(n)
    assert [i for span in spans for i in range(n)[span]] == list(range(n))
    sizes = [span.stop - span.start for span in spans]
    assert max(sizes) - min(sizes) <= 1
    assert [Ranks(rank, world_size).span(n) for rank in range(world_size)] == spans


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "dist", None)
    alone, rows = Ranks.from_environment(), torch.ones(3, 2)
    alone.open(torch.device("cpu"))
    assert alone.gather_rows(rows, 3) is rows
    alone.all_reduce([rows])
    alone.broadcast([rows])
    alone.close()
    assert torch.equal(rows, torch.ones(3, 2))
    assert (alone.all_reduce_max(2), alone.on_first_rank(lambda: 3), alone.first_rank_first(lambda: 4)) == (2, 3, 4)
    assert (alone.is_first, alone.span(5), alone.all_gather(rows)) == (True, slice(0, 5), [rows])
    assert alone.broadcast_named({"a": rows}) == {"a": rows}


def test_one_that_torchrun_started_alone_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"})
    assert Ranks.from_environment() == Ranks()
    monkeypatch.setattr(os, "environ", {"WORLD_SIZE": "4"})  # some schedulers set it for all
    assert Ranks.from_environment() == Ranks()
    monkeypatch.setattr(os, "environ", {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert Ranks.from_environment() == Ranks(5, 8, 1)


def test_nobody_to_meet_is_an_error() -> None:
    with pytest.raises(InputError, match=r"rank 1 of 2 cannot meet the others \(.*\); use torchrun"):
        Ranks(1, 2).open(torch.device("cpu"))


def _primitives(ranks: Ranks, folder: Path) -> None:
    for n in (2, 3, 13):  # with 4 ranks: some without a row
        whole = torch.arange(n * 2, dtype=torch.float64).reshape(n, 2)
        share = whole[ranks.span(n)].clone().requires_grad_()
        found = ranks.gather_rows(share, n)
        assert torch.equal(found, whole)
        torch.autograd.backward((found * (ranks.rank + 1) * whole).sum())
        assert share.grad is not None
        assert torch.equal(share.grad, whole[ranks.span(n)] * sum(range(1, ranks.world_size + 1)))
    parts = [torch.full((3,), float(ranks.rank)), torch.tensor(1.0), torch.ones(2, 2, dtype=torch.int32).T]
    parts += [torch.ones(5, 3).T, torch.zeros(0)]
    ranks.all_reduce(parts)
    assert [part.flatten()[0].item() for part in parts[:4]] == [
        sum(range(ranks.world_size)),
        ranks.world_size,
        ranks.world_size,
        ranks.world_size,
    ]
    module.BUCKET = 8  # many buckets
    parts = [torch.ones(i + 1, i + 2).T for i in range(5)]
    ranks.all_reduce(parts)
    assert all(bool((part == ranks.world_size).all()) for part in parts)
    assert ranks.all_reduce_max(7 if ranks.rank == ranks.world_size - 1 else 0) == 7
    rank_twice = torch.full((2,), ranks.rank, dtype=torch.uint8)
    assert [int(row[0]) for row in ranks.all_gather(rank_twice)] == list(range(ranks.world_size))
    _from_the_first(ranks, folder)
    _gradients(ranks)


def _from_the_first(ranks: Ranks, folder: Path) -> None:
    values = [torch.tensor(True), torch.tensor([1.5], dtype=torch.bfloat16), torch.zeros(2, 0), torch.ones(2, 3).T]
    received = values if ranks.is_first else [torch.zeros_like(value) for value in values]
    ranks.broadcast(received)
    assert all(torch.equal(a, b) for a, b in zip(received, values, strict=True))
    named = {str(i): value for i, value in enumerate(values)}
    found = ranks.broadcast_named(named if ranks.is_first else {})
    assert found.keys() == named.keys()
    assert all(torch.equal(found[name], named[name]) and found[name].dtype == named[name].dtype for name in named)
    assert list(ranks.on_first_rank(lambda: [ranks.rank, "ü", None, 0.1])) == [0, "ü", None, 0.1]
    for raised, seen in ((InputError, InputError), (Interrupted, Interrupted), (KeyError, RunError)):
        try:
            ranks.on_first_rank(partial(_raise, raised))
        except Exception as error:
            assert isinstance(error, raised if ranks.is_first else seen)
            assert "why" in str(error)
    place = folder / f"cache{ranks.world_size}"

    def fill() -> bool:
        found = place.exists()
        place.touch()
        return found

    assert ranks.first_rank_first(fill) is not ranks.is_first


def _raise(error: type[Exception]) -> None:
    raise error("why")


def _gradients(ranks: Ranks) -> None:
    """A parameter without a gradient here but with one there counts as zero here; one without any keeps none."""
    layers = [nn.Linear(1, 1) for _ in range(3)]
    train_state = TrainState.of(nn.ModuleList(layers), Settings())
    layers[0].weight.grad = torch.ones(1, 1)
    if ranks.rank == 1:
        layers[1].weight.grad = torch.ones(1, 1)
    train_state.sum_gradients(ranks)
    found = [None if layer.weight.grad is None else layer.weight.grad.item() for layer in layers]
    assert found == [ranks.world_size, 1, None]


def _losses(ranks: Ranks, folder: Path, names: list[str]) -> None:
    for name in names:
        part = loss(name).double()
        for kind, rows, more in _cases(part):
            torch.manual_seed(0)
            found = learnt(Perceptron(), copy.deepcopy(part), prepared(rows, pairs_for(part), ranks), ranks, **more)
            if ranks.is_first:
                save_file(found, folder / f"{name} {kind} {ranks.world_size}")


def _cases(part: Any) -> list[tuple[str, dict[str, torch.Tensor], dict[str, int]]]:
    return [("plain", batch(), {})] + ([("cached", batch(), {"micro_batch": 2})] if part.cacheable else [])


def _both(ranks: Ranks, folder: Path, names: list[str]) -> None:
    _losses(ranks, folder, names)
    _primitives(ranks, folder)
    ranks.close()
    assert not dist.is_initialized()


def test_every_loss_is_the_same_over_ranks(tmp_path: Path) -> None:
    names = comparing()
    for of in (2, 4):
        in_ranks(of, _both, tmp_path, names)
    for name in names:
        part = loss(name).double()
        torch.manual_seed(0)
        expected = learnt(Perceptron(), copy.deepcopy(part), prepared(batch(), pairs_for(part)))
        scale = max(value.abs().max().item() for value in expected.values())
        for kind, _, _ in _cases(part):
            for of in (2, 4):
                found = load_file(tmp_path / f"{name} {kind} {of}")
                assert found.keys() == expected.keys(), f"{name} {kind} {of}"
                for key, value in expected.items():
                    assert (found[key] - value).abs().max().item() <= 1e-10 * max(scale, 1), f"{name} {kind} {of} {key}"
