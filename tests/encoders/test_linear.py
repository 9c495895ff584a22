"""Linear layers of transformers and of picture networks, by either library, against float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nearfar.compute import fp32_products
from nearfar.compute.fp32_products import replace_linear_layers
from nearfar.encoders.packed.bf16_layers import replace_layers

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
pytestmark = pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
Replace = Callable[[nn.Module], object]


@pytest.fixture(params=[replace_layers, replace_linear_layers])
def replace(request: pytest.FixtureRequest) -> Replace:
    found: Replace = request.param
    return found


@pytest.fixture(autouse=True)
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp32_products, "onednn_fp32", lambda: True)


def layer(replace: Replace, *, out: int = 64, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(48, out, bias=bias))
    replace(made)
    linear = made[0]
    assert isinstance(linear, nn.Linear) and type(linear) is not nn.Linear
    return linear


def exact(made: nn.Linear, x: Tensor) -> Tensor:
    y = x.double() @ made.weight.double().T
    return y if made.bias is None else y + made.bias.double()


def near(found: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(found.double(), right.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (1, 33, 48), (0, 48)])
def test_both_libraries_give_the_same(
    replace: Replace, shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, x = layer(replace, bias=bias), torch.randn(shape)
    for chosen in (True, False):
        monkeypatch.setattr(fp32_products, "onednn_fp32", lambda chosen=chosen: chosen)
        with torch.inference_mode():
            near(made(x), exact(made, x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [1, 40, 64])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (3, 33, 48), (48,)])
def test_gradients_are_those_of_float64(replace: Replace, shape: tuple[int, ...], out: int, bias: bool) -> None:
    made, x = layer(replace, out=out, bias=bias), torch.randn(shape, requires_grad=True)
    weights = torch.randn(*shape[:-1], out)
    y = made(x)
    assert "OneDnn" in type(y.grad_fn).__name__
    (y * weights).sum().backward()
    double = nn.Linear(48, out, bias=bias).double()
    double.load_state_dict(made.state_dict())
    right_x = x.detach().double().requires_grad_()
    (double(right_x) * weights.double()).sum().backward()
    assert x.grad is not None and right_x.grad is not None
    near(x.grad, right_x.grad)
    for found, right in zip(made.parameters(), double.parameters(), strict=True):
        assert found.grad is not None and right.grad is not None and found.grad.is_contiguous()
        near(found.grad, right.grad)


def test_a_gradient_that_is_a_view_is_read_right(replace: Replace) -> None:
    made, x = layer(replace), torch.randn(5, 48)
    made(x).sum().backward()  # the gradient of a sum is one number, expanded
    assert made.weight.grad is not None
    near(made.weight.grad, x.double().sum(0).expand(64, 48))


def test_frozen_layers_have_no_gradient(replace: Replace) -> None:
    made, x = layer(replace).requires_grad_(False), torch.randn(5, 48, requires_grad=True)
    made(x).sum().backward()
    assert made.weight.grad is None and x.grad is not None
    near(x.grad, made.weight.double().sum(0).expand(5, 48))


def test_it_sees_weights_that_were_trained(replace: Replace) -> None:
    made, x = layer(replace), torch.randn(5, 48)
    with torch.no_grad():
        made(x)
        made.weight.mul_(2)
        near(made(x), exact(made, x))


def test_bf16_is_not_asked_of_it(replace: Replace) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert layer(replace)(torch.randn(5, 48)).dtype == torch.bfloat16
