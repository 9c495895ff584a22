"""The small network: its shapes, what a folder of it holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nearfar import Model
from nearfar.abilities import untrained_of
from nearfar.encoders import Image
from nearfar.encoders.image_networks.plain_network import PlainNetwork
from nearfar.errors import InputError


def pictures(n: int, side: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


@given(widths=st.lists(st.integers(1, 6), min_size=2, max_size=5), size=st.integers(1, 300))
def test_features_are_as_wide_as_the_last_convolution_at_any_size(widths: list[int], size: int) -> None:
    network = PlainNetwork(tuple(widths), "mean", size, seed=0).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, size, size)).shape == (2, widths[-1])
    assert sum(len(layer) for layer in network.layers()) == len(list(network.parameters()))


@pytest.mark.parametrize(("size", "places"), [(32, 4), (48, 6), (64, 4), (128, 4), (224, 4)])
def test_larger_pictures_are_halved_first(size: int, places: int) -> None:
    network = PlainNetwork((20, 24, 28, 28), "mean", size, seed=0).eval()
    with torch.no_grad():
        assert network.network(torch.zeros(1, 3, size, size)).shape[2:] == (places, places)


def test_it_is_convolutions_batch_norm_and_relu_and_a_mean() -> None:
    network = PlainNetwork((4, 4, 5, 6), "mean", 32, seed=0).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = x
    weights = network.network.state_dict()
    with torch.no_grad():
        for number, stride in enumerate((2, 1, 2, 1)):
            expected = torch.nn.functional.conv2d(expected, weights[f"{number}.0.weight"], stride=stride, padding=1)
            mean, var = weights[f"{number}.1.running_mean"], weights[f"{number}.1.running_var"]
            expected = (expected - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
            expected = (expected * weights[f"{number}.1.weight"][:, None, None]).clamp(min=0)
        torch.testing.assert_close(network(x), expected.mean((2, 3)))
        network.pool = "none"
        torch.testing.assert_close(network(x), expected.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize(("size", "args"), [(32, {}), (96, {}), (32, {"pool": "none"})])
def test_a_folder_gives_the_same_vectors_and_promises_no_other_library(
    tmp_path: Path, size: int, args: dict[str, Any]
) -> None:
    model = Model(Image(model_args={"widths": [8, 12, 16], **args}, size=size, seed=3))
    assert model.dim == (8 * 8 * 16 if args else 16)
    folder = model.save(tmp_path / "m")
    again = Model.load(folder)
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.embed(pictures(5, size)), model.embed(pictures(5, size)))
    assert "timm" not in (folder / "README.md").read_text()
    encoder, fresh = again.encoder, untrained_of(again.encoder)
    assert isinstance(encoder, Image) and isinstance(fresh, Image)
    own, new = encoder.state_dict(), fresh.state_dict()
    assert {name: tensor.shape for name, tensor in own.items()} == {name: tensor.shape for name, tensor in new.items()}
    assert not torch.equal(own["network.network.0.0.weight"], new["network.network.0.0.weight"])


def test_the_number_of_halvings_follows_the_pictures() -> None:
    from nearfar.column import ListColumn

    encoder = Image(model_args={"widths": [4, 8]})
    encoder.prepare([ListColumn("image", pictures(3, 130))])
    assert encoder.settings()["size"] == 128
    network: Any = encoder.network.network
    assert len(network) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_args": {"widths": [8]}}, r"encoder\.model_args: widths must be 2 to 16 numbers of channels"),
        ({"model_args": {"widths": [8, 0]}}, "widths must be"),
        ({"model_args": {"widths": [8, True]}}, "widths must be"),
        ({"model_args": {"widths": [8, 10**9]}}, "widths"),
        ({"model_args": {"depth": 3}}, "small has widths and pool, it has no depth"),
        ({"model_args": {"pool": "max"}}, "pool must be mean or none, it is 'max'"),
        ({"stem": "small"}, "small is for timm's ResNets, the model small is none"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Image(**settings)


def test_a_folder_whose_files_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    folder = Model(Image(model_args={"widths": [4, 8]}, size=32)).save(tmp_path / "m")
    path = next(folder.rglob("config.json"))
    good = json.loads(path.read_text())
    for change, message in (
        ({"widths": [4, 9]}, "do not belong together"),
        ({"widths": [4, 8, 8]}, "do not belong together"),
        ({"widths": None}, "widths must be"),
        ({"pool": 3}, "pool must be mean or none"),
        ({"input_size": 224}, "do not belong together"),
        ({"input_size": "large"}, "must be 1 to 4096 pixels"),
        ({"network": "other"}, "names no network of nearfar"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(InputError, match=message):
            Model.load(folder)


def test_a_picture_whose_features_are_all_zero_is_named() -> None:
    encoder = Image(model_args={"widths": [4, 8]}, size=32)
    with torch.no_grad():
        for layer in encoder.network.network:
            layer[1].bias.fill_(-100.0)
    with pytest.raises(InputError, match=r"row 1 has no vector \(image\): the features of it are all zero"):
        Model(encoder).embed(pictures(2))
