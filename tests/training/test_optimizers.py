"""LARS and Muon: their steps are those of the papers, in float64; what is no matrix is treated as it should be."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nearfar import registry
from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError
from nearfar.training.optimizers import build_optimizer, table_names
from nearfar.training.schedules import Schedules
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState, build_schedule
from tests.training.runs import train

pytest.importorskip("timm", reason="the extra images is not installed")
# Keller Jordan's quintic of five steps, as timm's preset "quintic" has it.
QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
Step = dict[str, Tensor]


class Small(nn.Module):
    """A table, a convolution, a depthwise one, a norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(5, 6)
        self.conv = nn.Conv2d(6, 8, 3)
        self.deep = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 4)


def gradients(module: nn.Module, step: int) -> Step:
    draw = torch.Generator().manual_seed(step)
    return {name: torch.randn(p.shape, generator=draw, dtype=p.dtype) for name, p in module.named_parameters()}


def made(module: nn.Module, settings: Settings, steps: int = 4) -> dict[str, Tensor]:
    """Return the weights after some steps with gradients that are drawn."""
    state = TrainState.of(module, settings)
    schedule = build_schedule(state.optimiser, settings, 2 * steps, 0)
    for step in range(steps):
        for name, gradient in gradients(module, step).items():
            state.parameters[name].grad = gradient
        state.step()
        schedule.step()
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def rate(step: int, of: int = 8) -> float:
    return 1 - step / of  # the linear schedule


def lars(weight: Tensor, name: str, decay: float, lr: float, steps: int = 4) -> Tensor:
    """You et al. 2017, algorithm 1: a matrix's step is scaled by 0.001 |w| / (|g| + decay |w|)."""
    w, moved = weight.double(), torch.zeros_like(weight).double()
    for step in range(steps):
        g = gradients(Small(), step)[name].double()
        if w.ndim >= 2:
            g = 0.001 * w.norm() / (g.norm() + decay * w.norm()) * (g + decay * w)
        moved = 0.9 * moved + g if step else g
        w = w - lr * rate(step) * moved
    return w


def adamw(weight: Tensor, name: str, decay: float, lr: float, steps: int = 4) -> Tensor:
    w = weight.double()
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(steps):
        g, at = gradients(Small(), step)[name].double(), lr * rate(step)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        w = w * (1 - at * (decay if w.ndim >= 2 else 0))
        w = w - at * (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    return w


def muon(weight: Tensor, name: str, decay: float, lr: float, steps: int = 4) -> Tensor:
    """Newton-Schulz of momentum with Nesterov's step ahead, kernels as matrices (out, in h w)."""
    w, average = weight.double(), torch.zeros_like(weight).double()
    for step in range(steps):
        g, at = gradients(Small(), step)[name].double(), lr * rate(step)
        average = 0.95 * average + 0.05 * g
        x = (0.05 * g + 0.95 * average).flatten(1)
        x = x / x.norm()
        for a, b, c in QUINTIC:
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        w = w * (1 - at * decay) - at * 0.2 * math.sqrt(max(x.shape)) * x.view_as(w)
    return w


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_the_paper_s_and_leaves_biases_and_norms_alone(decay: float) -> None:
    found = made(Small(), Settings(optimizer="lars", learning_rate=5.0, weight_decay=decay))
    for name, weight in Small().named_parameters():
        torch.testing.assert_close(found[name].double(), lars(weight.detach(), name, decay, 5.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("decay", "bf16"), [(0.0, True), (0.1, True), (0.0, False), (0.1, False)])
def test_muon_takes_matrices_and_convolutions_and_adamw_the_rest(
    decay: float, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearfar.compute.hardware.cpu_bf16", lambda: bf16)
    module = Small()
    assert table_names(module) == {"table.weight"}
    found = made(module, Settings(optimizer="muon", learning_rate=0.1, weight_decay=decay))
    of_muon = {"conv.weight", "last.weight"}
    for name, before in Small().named_parameters():
        weight = before.detach()
        expected = (muon if name in of_muon else adamw)(weight, name, decay, 0.1)
        if name in of_muon:  # in bf16, whose numbers have 8 bits, only where the hardware is fast at it
            error = (found[name] - expected).norm() / (expected - weight).norm()
            assert (1e-4 < error < 0.02) if bf16 else (error < 1e-5), name
            assert (found[name] - adamw(weight, name, decay, 0.1)).norm() / (expected - weight).norm() > 0.3
        else:
            torch.testing.assert_close(found[name].double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lars", "muon"])
def test_scheduled_weight_decay_acts_on_matrices_of_both_parts(name: Any) -> None:
    settings = Settings(optimizer=name, weight_decay=Scheduled(0.0, 0.4))
    module = Small()
    optimiser = build_optimizer(dict(module.named_parameters()), settings, tables=table_names(module))
    Schedules(settings, optimiser, None, 5).before_step(4)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    for parameter in module.parameters():
        assert decay[id(parameter)] == (0.4 if parameter.ndim >= 2 else 0)


@pytest.mark.parametrize("name", ["lars", "muon"])
def test_a_stopped_run_ends_bit_equal(name: Any, tmp_path: Path) -> None:
    more: dict[str, Any] = {"optimizer": name, "learning_rate": 0.05, "weight_decay": 0.1, "warmup": 0.2}

    def stop(model: Any) -> dict[str, float]:
        raise RuntimeError("stop")

    whole = train(tmp_path / "whole", **more)
    with pytest.raises(RuntimeError, match="stop"):
        train(tmp_path / "cut", **more, evaluate=stop, evaluate_every=7)
    resumed = train(tmp_path / "cut", **more, resume=True)
    one, other = (dict(run.model.encoder.state_dict()) for run in (whole, resumed))  # type: ignore[attr-defined]
    assert one and all(np.array_equal(value, other[key]) for key, value in one.items())


def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.optimizer.*muom"):
        registry.coerced_settings(Settings, {"optimizer": "muom"}, "training")
    monkeypatch.setitem(sys.modules, "timm.optim.lars", None)
    with pytest.raises(InputError, match=r"training\.optimizer=muon needs timm: pip install 'nearfar\[images\]'"):
        train(tmp_path / "run", optimizer="muon")
    assert not (tmp_path / "run").exists()
