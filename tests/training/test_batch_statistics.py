"""Batch norm in an encoder: refused with micro-batches, synchronised over ranks, frozen in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nearfar.compute.ranks import Ranks
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.image import Image
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.training.batch_statistics import SynchronisedBatchNorm, refuse_batch_statistics, synchronised
from nearfar.training.fit import fit
from nearfar.training.settings import Settings
from tests.training.denoising import Denoising
from tests.training.floats import Perceptron
from tests.training.runs import in_ranks
from tests.training.test_ranks import pictures

SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.3, "clip": 0.0, "precision": "fp32", "device": "cpu"}


@pytest.mark.parametrize("cut", [{"micro_batch": 4}, {"micro_cost": 30}], ids=str)
def test_micro_batches_are_refused_by_name(tmp_path: Path, cut: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"micro_batch: .*Perceptron has batch statistics in layers\.1"):
        fit(Perceptron(norm=True), pictures(), InfoNCE(), out=tmp_path / "run", quiet=True, **{**SGD, **cut})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("training", [False, True])
def test_a_locked_tower_has_no_statistics_of_the_batch(training: bool) -> None:
    """Its layers stay in evaluation, so micro-batches change nothing; the modes are left as they were."""
    network, other = Image("small", size=32), Static(dim=8, vocabulary=300)
    encoder = Dual(FrozenProjection(network, dim=8, initial="random"), other).train(training)
    modes = [part.training for part in encoder.modules()]
    refuse_batch_statistics(encoder, Settings(micro_batch=4), 2)
    assert [part.training for part in encoder.modules()] == modes
    trained = Dual(Image("small", size=32), Static(dim=network.dim, vocabulary=300))
    with pytest.raises(InputError, match=r"dual has batch statistics in query\."):
        refuse_batch_statistics(trained.train(training), Settings(micro_batch=4), 1)


def test_an_objective_s_statistics_are_refused_too(tmp_path: Path) -> None:
    encoder = Perceptron()
    objective = Denoising(encoder)
    objective.norm = nn.BatchNorm1d(8)
    with pytest.raises(InputError, match=r"micro_batch: .*Denoising has batch statistics in norm"):
        fit(encoder, pictures(), InfoNCE(), objective=objective, out=tmp_path / "run", micro_batch=4, quiet=True)


class Whitening(nn.Module):
    """An encoder's layer with batch statistics that are not torch's batch norm."""

    batch_statistics = True


def test_statistics_of_an_encoder_s_own_are_refused_where_they_would_differ() -> None:
    refuse_batch_statistics(Whitening(), Settings(), 1)
    without = Whitening()
    without.batch_statistics = False
    refuse_batch_statistics(without, Settings(micro_batch=2), 2)
    with pytest.raises(InputError, match="Whitening has batch statistics, which would be those of each micro-batch"):
        refuse_batch_statistics(Whitening(), Settings(micro_batch=2), 1)
    with pytest.raises(InputError, match="Whitening has batch statistics of its own, which 2 ranks cannot share"):
        refuse_batch_statistics(Whitening(), Settings(), 2)


def train(folder: Path, **more: Any) -> dict[str, Tensor]:
    """Train an encoder with batch norm; return its weights and statistics."""
    encoder = Perceptron(norm=True)
    given = {**SGD, "batch_size": 13, "steps": 5, **more}
    fit(encoder, pictures(), InfoNCE(), out=folder, quiet=True, **given)
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}


MODES: dict[str, dict[str, Any]] = {"same": {}, "momentum": {"keys": "momentum", "momentum": 0.8}}


def _in_ranks(ranks: Ranks, folder: Path) -> None:
    for mode, more in MODES.items():
        found = train(folder / f"{mode} {ranks.world_size}", **more)
        for value in found.values():
            assert all(torch.equal(value, other) for other in ranks.all_gather(value))
        if ranks.is_first:
            save_file(found, folder / f"{mode}-{ranks.world_size}.safetensors")


def test_several_ranks_learn_what_one_does(tmp_path: Path) -> None:
    _in_ranks(Ranks(), tmp_path)
    for of in (2, 3):
        in_ranks(of, _in_ranks, tmp_path)
        for mode in MODES:
            one, several = (load_file(tmp_path / f"{mode}-{size}.safetensors") for size in (1, of))
            assert one.keys() == several.keys()
            for name, value in one.items():  # float64
                torch.testing.assert_close(several[name], value, rtol=1e-9, atol=1e-10, msg=f"{name}: {{}}".format)


SETTINGS: list[dict[str, Any]] = [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}]


def batch_norm_act(features: int, **settings: Any) -> nn.Module:
    """Return timm's batch norm, which has its activation inside."""
    layers = pytest.importorskip("timm.layers", reason="the extra images is not installed")
    found: nn.Module = layers.BatchNormAct2d(features, **settings)
    return found


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, batch_norm_act])
@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_the_synchronised_layer_computes_what_torch_s_does(
    kind: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain, other = kind(3, **settings).double(), kind(3, **settings).double()
    with synchronised(other, Ranks(0, 2)):  # of one process, as if it were two: the sums are this rank's
        assert isinstance(other, SynchronisedBatchNorm)
        _compare(plain, other, kind, monkeypatch)
    assert type(other) is type(plain)
    refuse_batch_statistics(other, Settings(), 2)  # is not refused


def _compare(plain: Any, synchronised: Any, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "sum", lambda _, tensor: tensor)
    more = {nn.BatchNorm1d: (), nn.BatchNorm3d: (2, 2, 2)}.get(kind, (4, 2))
    for mode in (True, True, False):
        x = torch.randn(6, 3, *more, dtype=torch.float64, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        a, b = plain.train(mode)(x), synchronised.train(mode)(y)
        torch.testing.assert_close(a, b)
        a.square().sin().sum().backward()
        b.square().sin().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(synchronised.state_dict()[name], value)


def test_layers_stay_the_same_objects_and_get_their_class_back() -> None:
    encoder = Perceptron(norm=True)
    layer = encoder.layers[1]
    with synchronised(encoder, Ranks()):
        assert not isinstance(layer, SynchronisedBatchNorm)
    twice = nn.Sequential(layer, nn.Tanh(), layer)
    with synchronised(twice, Ranks(0, 2)):
        assert isinstance(twice[0], SynchronisedBatchNorm)
        assert twice[0] is twice[2] is layer
    assert type(encoder.layers[1]) is nn.BatchNorm1d


class Activated(nn.BatchNorm1d):
    """A batch norm with a forward pass of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.tanh(super().forward(input))


def test_a_layer_with_a_forward_pass_of_its_own_is_refused_over_ranks() -> None:
    encoder = nn.Sequential(nn.Linear(2, 2), Activated(2))
    refuse_batch_statistics(encoder, Settings(), 1)
    with pytest.raises(InputError, match=r"statistics of its own in 1 \(Activated\), which 2 ranks cannot share"):
        refuse_batch_statistics(encoder, Settings(), 2)


def test_in_evaluation_no_rank_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.BatchNorm1d(2, track_running_stats=False)
    expected = layer.eval()(torch.arange(6.0).view(3, 2))

    def never(*_: Any) -> Any:
        raise AssertionError("a collective")

    monkeypatch.setattr(Ranks, "sum", never)
    with synchronised(layer, Ranks(0, 2)):
        assert torch.equal(layer.eval()(torch.arange(6.0).view(3, 2)), expected)


def test_evaluation_leaves_the_statistics_bit_equal(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain")
    judged = train(
        tmp_path / "judged",
        heldout=pictures(20),
        evaluate=lambda model: {"map": float(model.embed(pictures(20).views["key"].read(0, 20)).sum())},
        evaluate_every=1,
    )
    assert all(torch.equal(value, judged[name]) for name, value in plain.items())
