"""Heads, and where keys come from: against a naive step in float64, cut and whole, over ranks, kept and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.compute.ranks import Ranks
from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError, Interrupted
from nearfar.heads.mlp import Mlp
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Pairs
from nearfar.training.fit import fit
from nearfar.training.interrupts import Interrupts
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Queue, Trained
from tests.training.floats import CPU, DIM, Perceptron, batch, prepared
from tests.training.runs import in_ranks
from tests.training.test_log import lines
from tests.training.test_ranks import pictures

SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.3, "clip": 0.0, "precision": "fp32", "device": "cpu"}


def heads(norm: Any = "batch", prediction: bool = True) -> dict[str, Any]:
    """Return new heads with the same weights at each call."""
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        found: dict[str, Any] = {"projection": Mlp(DIM, [10, 4], norm=norm).double()}
        if prediction:
            found["prediction"] = Mlp(4, [6, 4], norm=norm).double()
    return found


def one_step(
    trained: Trained, rows: dict[str, Tensor], ranks: Ranks | None = None, **more: Any
) -> tuple[GradientStep, Any]:
    """Make one gradient step; return it and its output."""
    settings = Settings(**{**SGD, **more})
    train_state = TrainState.of(trained.module(settings).train(), settings)
    views: Any = type("Views", (), {"query_views": ["query"], "key_views": ["key"]})
    step = GradientStep(train_state, trained, views, settings, CPU, "fp32", ranks)
    output = step(prepared(rows, Pairs.aligned(len(rows["query"])), ranks))
    return step, output


def gradients(step: GradientStep) -> dict[str, Tensor]:
    """Return the gradient of every parameter that has one."""
    return {name: p.grad.clone() for name, p in step.train_state.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("keys", ["same", "stopped"])
@pytest.mark.parametrize("prediction", [False, True], ids=["projection", "both"])
def test_the_gradient_is_that_of_the_naive_composition(keys: str, prediction: bool) -> None:
    rows = batch()
    trained = Trained(Perceptron(), InfoNCE(), heads(prediction=prediction))
    step, output = one_step(trained, rows, keys=keys)
    encoder, parts = Perceptron().train(), heads(prediction=prediction)
    cells = torch.cat([rows["query"], rows["key"]]).double()
    z = parts["projection"](encoder.layers(cells))  # batch statistics of all views together
    q, k = z[:13], z[13:].detach() if keys == "stopped" else z[13:]
    q = parts["prediction"](q) if prediction else q
    logits = normalize(q, dim=1) @ normalize(k, dim=1).T / 0.05
    both = [nn.functional.cross_entropy(s, torch.arange(13)) for s in (logits, logits.T)]
    expected = (both[0] + both[1]) / 2
    expected.backward()
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-9)
    found = gradients(step)
    naive = {f"encoder.{n}": p.grad for n, p in encoder.named_parameters()}
    naive |= {f"{head}.{n}": p.grad for head, part in parts.items() for n, p in part.named_parameters()}
    assert set(naive) <= set(found)
    for name, grad in naive.items():
        assert grad is not None
        torch.testing.assert_close(found[name], grad, rtol=1e-7, atol=1e-10, msg=f"{name}: {{}}".format)


@pytest.mark.parametrize("keys", ["same", "stopped"])
@pytest.mark.parametrize("cut", [{"micro_batch": 3}, {"micro_cost": 20}], ids=str)
def test_batch_norm_in_heads_is_exact_with_micro_batches(keys: str, cut: dict[str, Any]) -> None:
    whole, one = one_step(Trained(Perceptron(), InfoNCE(), heads()), batch(), keys=keys)
    parts, other = one_step(Trained(Perceptron(), InfoNCE(), heads()), batch(), keys=keys, **cut)
    assert other.loss.item() == pytest.approx(one.loss.item(), rel=1e-10)
    for name, grad in gradients(whole).items():
        torch.testing.assert_close(gradients(parts)[name], grad, rtol=1e-8, atol=1e-12)
    buffers = dict(whole.train_state.module.named_buffers())
    for name, value in parts.train_state.module.named_buffers():  # running statistics moved once
        torch.testing.assert_close(value, buffers[name])


def train(folder: Path, **more: Any) -> Any:
    """Train with both heads; return the run."""
    given = {**SGD, "batch_size": 13, "steps": 6, "checkpoint_every": 2, **more}
    part = given.pop("heads", None) or heads()
    return fit(Perceptron(), pictures(), InfoNCE(), heads=part, out=folder, quiet=True, **given)


MODES: dict[str, dict[str, Any]] = {
    "simclr": {"keys": "same"},
    "simsiam": {"keys": "stopped"},
    "byol": {"keys": "momentum", "momentum": Scheduled(0.5, 1.0, "cosine")},
    "moco": {"keys": "momentum", "momentum": 0.9, "queue": 20},
    "nnclr": {"keys": "neighbours", "queue": 60},  # more than the data has
}


@pytest.mark.parametrize("mode", MODES)
def test_heads_and_copies_are_in_the_checkpoint_and_resume_bit_equal(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", **MODES[mode])
    monkeypatch.setattr(Interrupts, "on_any_rank", _stop_at(3))
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", **MODES[mode])
    monkeypatch.undo()
    train(tmp_path / "cut", resume=True, **MODES[mode])
    folder = next((tmp_path / "whole" / "checkpoints").glob("*6"))
    whole = load_file(folder / "state.safetensors")
    cut = load_file(tmp_path / "cut" / "checkpoints" / folder.name / "state.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    assert any(name.startswith("module/projection.") for name in whole)
    assert any(name.startswith("module/momentum_projection.") for name in whole) == ("momentum" in MODES[mode])
    with pytest.raises(InputError, match=r"heads"):  # other heads are another run
        train(tmp_path / "cut", resume=True, heads={"projection": Mlp(DIM, [4]).double()}, **MODES[mode])


def _stop_at(step: int) -> Any:
    calls: list[int] = []

    def on_any_rank(_self: Any, _ranks: Any) -> str | None:
        calls.append(1)
        return "SIGTERM" if len(calls) == step else None

    return on_any_rank


def _in_ranks(ranks: Ranks, folder: Path) -> None:
    for mode, more in MODES.items():
        run = train(folder / f"{mode} {ranks.world_size}", batch_size=12, steps=4, **more)
        weights = {name: value.detach().clone() for name, value in run.model.encoder.state_dict().items()}
        if ranks.is_first:
            save_file(weights, folder / f"{mode}-{ranks.world_size}.safetensors")


def test_one_rank_and_two_learn_the_same(tmp_path: Path) -> None:
    _in_ranks(Ranks(), tmp_path)
    in_ranks(2, _in_ranks, tmp_path)
    for mode in MODES:
        one, two = (load_file(tmp_path / f"{mode}-{size}.safetensors") for size in (1, 2))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-8, msg=f"{mode} {name}: {{}}".format)


def test_neighbours_are_the_nearest_queued_keys(tmp_path: Path) -> None:
    queue = Queue(5, 2, torch.float64)
    queue.put(0, torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]).double())
    keys = torch.tensor([[0.9, 0.1], [-3.0, 1.0], [0.1, 0.5]]).double()
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    assert queue.neighbours(keys, 3, none).tolist() == [[1, 0], [-1, 0], [0, 2]]
    assert queue.neighbours(keys, 0, none).tolist() == keys.tolist()
    own = np.array([0, 1, 1, 1]), np.array([0, 0, 1, 2])  # of the second key's thing are all
    assert queue.neighbours(keys, 3, own).tolist() == [[0, 2], [-3, 1], [0, 2]]
    run = train(tmp_path, **MODES["nnclr"])
    assert np.isfinite(next(event["loss"] for event in lines(run.folder) if event["event"] == "step"))


def test_the_copy_follows_the_scheduled_momentum(tmp_path: Path) -> None:
    train(tmp_path, **MODES["byol"])
    drawn = [event["momentum"] for event in lines(tmp_path) if event["event"] == "step"]
    assert drawn[0] == 0.5
    assert drawn[-1] == 1.0
    assert drawn == pytest.approx([1 - 0.5 * (1 + np.cos(np.pi * s / 5)) / 2 for s in range(6)])


def test_ship_decides_what_the_model_is(tmp_path: Path) -> None:
    with_head = train(tmp_path / "p", ship="projection", heads=heads(prediction=False))
    plain = train(tmp_path / "e", heads=heads(prediction=False))
    assert (with_head.model.dim, plain.model.dim) == (4, DIM)
    cards = [(run.folder / "model" / "README.md").read_text() for run in (with_head, plain)]
    assert "the encoder with the projection that it was trained with" in cards[0]
    assert "the projection that it was trained with is not part of it" in cards[1]
    cells = [np.ones(6, np.float32), -np.ones(6, np.float32)]
    z = plain.model.encoder.layers(torch.ones(1, 6).double())
    found = with_head.model.embed(cells)[0]
    projection = with_head.model.encoder.head.eval()
    assert found == pytest.approx(normalize(projection(z), dim=1)[0].detach().numpy(), abs=1e-6)
    with pytest.raises(InputError, match=r"ship=projection: the recipe has no heads\.projection"):
        train(tmp_path / "n", ship="projection", heads={"prediction": Mlp(DIM, [DIM]).double()})


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"heads\.prediction returns 3 dimensions, the keys have 8"):
        train(tmp_path / "a", heads={"prediction": Mlp(DIM, [3]).double()})
    with pytest.raises(InputError, match="heads: no head 'projektion'"):
        train(tmp_path / "b", heads={"projektion": Mlp(DIM, [3])})
    with pytest.raises(InputError, match=r"projection does not take vectors of 8 dimensions \(.*\); give it dim=8"):
        train(tmp_path / "c", heads={"projection": Mlp(9, [4]).double()})
    with pytest.raises(InputError, match=r"write training\.keys=momentum"):
        Settings(momentum=0.9)
    with pytest.raises(InputError, match=r"give the factor of the running average, training\.momentum=0\.99"):
        Settings(keys="momentum")
    with pytest.raises(InputError, match=r"give training\.queue"):
        Settings(keys="neighbours")
    assert not (tmp_path / "a").exists()


class Centred(InfoNCE):
    """A loss with a state that moves once a step: the mean of the keys, as DINO's centre does."""

    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []
        self.register_buffer("centre", torch.zeros(4, dtype=torch.float64))

    def after_step(self, queries: Tensor, keys: Tensor) -> None:
        assert not keys.requires_grad
        self.seen.append((len(queries), len(keys)))
        self.centre.lerp_(keys.mean(0), 0.5)


@pytest.mark.parametrize("more", [{}, {"micro_batch": 3}, {"keys": "momentum", "momentum": 0.5}], ids=str)
def test_a_loss_s_state_moves_once_a_step(tmp_path: Path, more: dict[str, Any]) -> None:
    loss = Centred()
    given = {**SGD, "batch_size": 13, "steps": 4, "evaluate_every": 1, **more}
    part = heads(prediction=False)
    fit(Perceptron(), pictures(), loss, heads=part, heldout=pictures(20), out=tmp_path, quiet=True, **given)
    assert loss.seen == [(13, 13)] * 4
    assert bool(loss.centre.any())
