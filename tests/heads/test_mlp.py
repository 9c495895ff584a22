"""Mlp: against the layers written out, and its errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nearfar import registry
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"sizes": [5]}, ["Linear"]),
        ({"sizes": [5, 3]}, ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ({"sizes": [5, 3], "norm": "layer"}, ["Linear", "LayerNorm", "ReLU", "Linear"]),
        ({"sizes": [5, 3], "norm": "none"}, ["Linear", "ReLU", "Linear"]),
        ({"sizes": [5, 3], "last_norm": True}, ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
    ],
)
def test_it_has_the_layers_that_its_settings_say(settings: dict[str, Any], kinds: list[str]) -> None:
    head = registry.build("heads", {"name": "mlp", **settings}, dim=4)
    assert [type(layer).__name__.removeprefix("OneDnn") for layer in head.layers] == kinds
    assert head.dim == settings["sizes"][-1]
    assert head(torch.randn(6, 4)).shape == (6, head.dim)
    for layer, following in zip(head.layers, [*head.layers[1:], None]):
        if isinstance(layer, nn.Linear):  # a norm would take the bias away again
            assert (layer.bias is None) == isinstance(following, nn.BatchNorm1d | nn.LayerNorm)


def test_the_last_norm_has_no_scale_of_its_own() -> None:
    torch.manual_seed(0)  # a norm adds a little to the variance, which some small weights would show
    head = Mlp(4, [5, 3], last_norm=True)
    result = head(torch.randn(64, 4))
    assert result.mean(0).abs().max().item() < 1e-5
    assert result.var(0, unbiased=False).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"sizes": []}, "one dimension for each layer"), ({"sizes": [0]}, "at least 1"), ({"norm": "group"}, "norm")],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        registry.build("heads", {"name": "mlp", **settings}, dim=4)
    with pytest.raises(InputError, match=words):
        Mlp(4, **settings)
