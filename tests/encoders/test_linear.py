"""The linear layer of packed transformers, by either library, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nearfar.encoders.packed import bf16_layers
from nearfar.encoders.packed.bf16_layers import replace_layers

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()


def layer(*, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(48, 64, bias=bias))
    replace_layers(made)
    return made


def exact(made: nn.Module, x: Tensor) -> Tensor:
    weight, bias = made[0].weight, made[0].bias  # type: ignore[index]
    y = x.double() @ weight.double().T
    return y if bias is None else y + bias.double()


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (1, 33, 48), (0, 48)])
def test_onednn_and_mkl_give_the_same(shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(bias=bias), torch.randn(shape)
    for by_onednn in (True, False):
        monkeypatch.setattr(bf16_layers, "onednn_fp32", lambda chosen=by_onednn: chosen)
        with torch.inference_mode():
            torch.testing.assert_close(made(x).double(), exact(made, x), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
def test_onednn_sees_weights_that_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_layers, "onednn_fp32", lambda: True)
    made, x = layer(), torch.randn(5, 48)
    with torch.no_grad():
        made(x)
        made[0].weight.mul_(2)  # type: ignore[index]
        torch.testing.assert_close(made(x).double(), exact(made, x), atol=1e-5, rtol=1e-5)


def test_gradients_go_through_the_layer_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_layers, "onednn_fp32", lambda: True)
    made, x = layer(), torch.randn(5, 48)
    made(x).sum().backward()
    gradient = made[0].weight.grad  # type: ignore[index]
    torch.testing.assert_close(gradient.double(), x.double().sum(0).expand(64, 48), atol=1e-5, rtol=1e-5)


def test_bf16_is_not_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_layers, "onednn_fp32", lambda: True)
    with torch.inference_mode():
        assert layer()(torch.randn(5, 48).bfloat16()).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert layer()(torch.randn(5, 48)).dtype == torch.bfloat16
