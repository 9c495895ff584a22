from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError
from nearfar.storage.weights import write_weights
from nearfar.training.optimizers import build_optimizer
from nearfar.training.settings import Settings, refuse_lone_examples
from nearfar.training.state import TrainState, build_schedule


def rates(settings: Settings, steps: int, first: int = 0) -> list[float]:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    optimiser = build_optimizer({"weight": parameter}, settings)
    schedule = build_schedule(optimiser, settings, steps, first)
    found = []
    for _ in range(first, steps):
        found.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    return found


def test_the_rate_rises_then_falls_in_a_line() -> None:
    found = rates(Settings(learning_rate=1.0, warmup=0.4), 10)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_the_other_schedules() -> None:
    assert rates(Settings(learning_rate=2.0, schedule="constant"), 3) == [2, 2, 2]
    cosine = [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    assert rates(Settings(learning_rate=1.0, schedule="cosine"), 4) == pytest.approx(cosine)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_a_resumed_schedule_goes_on(kind: Any) -> None:
    settings = Settings(learning_rate=0.3, warmup=0.2, schedule=kind)
    assert rates(settings, 20, first=7) == rates(settings, 20)[7:]


def test_only_matrices_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    scale = nn.Parameter(torch.tensor(1.0))
    optimiser = build_optimizer({**dict(module.named_parameters()), "scale": scale}, Settings(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decay[id(module[0].weight)] == 0.1
    assert [decay[id(p)] for p in (module[0].bias, module[1].weight, module[1].bias, scale)] == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars", "muon"])
def test_each_optimiser_comes_back_from_its_state(name: Any) -> None:
    settings = Settings(optimizer=name, learning_rate=0.1)

    def train_state() -> TrainState:
        torch.manual_seed(0)
        module = nn.Linear(3, 2)
        module.register_parameter("scale", nn.Parameter(torch.tensor(1.0)))
        return TrainState.of(module, settings)

    def step(train_state: TrainState) -> None:
        module = train_state.module
        loss = (module(torch.randn(4, 3)) * module.scale).square().mean()
        torch.autograd.backward(loss)
        train_state.step()

    one = train_state()
    for _ in range(3):
        step(one)
    saved = one.collect()
    other = train_state()
    other.restore(saved, Ranks())
    state = torch.get_rng_state()
    step(one)
    torch.set_rng_state(state)
    step(other)
    for p, q in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars", "muon"])
def test_moments_of_weights_with_channels_last_come_back_to_their_own_weights(name: Any, tmp_path: Path) -> None:
    """A file has no memory layout, and a fused optimiser reads memory in order, whatever the layout."""

    def steps(train_state: TrainState, numbers: range) -> None:
        for number in numbers:
            draw = torch.Generator().manual_seed(number)
            torch.autograd.backward(train_state.module(torch.randn(2, 3, 8, 8, generator=draw)).square().mean())
            train_state.step()

    def train_state() -> TrainState:
        torch.manual_seed(0)
        module = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        return TrainState.of(module, Settings(optimizer=name, learning_rate=0.1))

    whole, before, after = (train_state() for _ in range(3))
    steps(whole, range(6))
    steps(before, range(3))
    write_weights(tmp_path / "state.safetensors", before.collect())
    after.restore(load_file(tmp_path / "state.safetensors"), Ranks())
    steps(after, range(3, 6))
    after_weight, whole_weight = (next(state.module.parameters()) for state in (after, whole))
    assert torch.equal(after_weight, whole_weight)
    for parameter, state in after.optimiser.state.items():
        assert all(value.stride() == parameter.stride() for value in state.values() if value.shape == parameter.shape)


def test_a_tied_tensor_is_kept_once_and_stays_tied() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    module["b"].weight = module["a"].weight
    train_state = TrainState.of(module, Settings())
    torch.autograd.backward(module["b"](torch.ones(1, 2)).sum())
    train_state.step()
    tensors = train_state.collect()
    assert [name for name in tensors if name.startswith("optimizer/b")] == []
    train_state.restore(tensors, Ranks())
    assert module["a"].weight is module["b"].weight


def test_only_a_gradient_above_the_norm_is_clipped() -> None:
    module = nn.Linear(1, 2, bias=False)
    train_state = TrainState.of(module, Settings())
    for max_norm, expected in ((0.0, 5.0), (10.0, 5.0), (1.0, 1.0)):
        module.weight.grad = torch.tensor([[3.0], [4.0]])
        assert train_state.clip(max_norm) == pytest.approx(5)
        assert module.weight.grad.norm().item() == pytest.approx(expected)


def test_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(InputError, match="a parameter that can be learnt"):
        TrainState.of(nn.Linear(2, 2).requires_grad_(False), Settings())


def test_other_shapes_do_not_fit() -> None:
    saved = TrainState.of(nn.Linear(2, 2), Settings()).collect()
    with pytest.raises(InputError, match="do not fit this model"):
        TrainState.of(nn.Linear(3, 2), Settings()).restore(saved, Ranks())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("epochs", math.inf),
        ("learning_rate", math.nan),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("steps", 0),
        ("clip", -1),
        ("weight_decay", -0.1),
        ("seed", -1),
        ("keep", 0),
        ("evaluate_every", -5),
        ("patience", 2),
        ("micro_batch", -1),
        ("micro_cost", -1),
        ("queue", -1),
        ("momentum", 1.0),
        ("momentum", -0.1),
    ],
)
def test_wrong_settings_are_named(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"training.{setting}"):
        Settings(**{setting: value})


def test_a_loss_has_examples_to_compare() -> None:
    with pytest.raises(InputError, match=r"training.batch_size must be at least 2"):
        refuse_lone_examples(Settings(batch_size=1))
    refuse_lone_examples(Settings(batch_size=2))
