"""Attention of picture networks over few patches: the same vectors and gradients by either form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nearfar.encoders.image_networks import few_patches
from nearfar.encoders.image_networks.few_patches import ATTENTION_NAME, FEW, choose_in_timm, choose_in_transformers

timm = pytest.importorskip("timm")


def _timm(side: int) -> nn.Module:
    network: nn.Module = timm.create_model("test_vit", img_size=side, num_classes=0)
    return network.eval()


def _transformers(side: int) -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    config = ViTConfig(**sizes, image_size=side, patch_size=16, hidden_dropout_prob=0.0)
    network: Any = ViTModel(config, add_pooling_layer=False)
    made: nn.Module = network.eval()
    return made


def _features(network: Any, x: Tensor) -> Tensor:
    found = network(x)
    features: Tensor = found if isinstance(found, Tensor) else found.last_hidden_state[:, 0]
    return features


def _gradient(network: nn.Module, x: Tensor, *, bf16: bool) -> tuple[Tensor, Tensor]:
    """Return features, and the gradient of the attention's and all other weights in one vector."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        features = _features(network, x).to(torch.promote_types(x.dtype, torch.float32))
    features.square().sum().backward()
    found = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    network.zero_grad()
    return features.detach(), found


@pytest.mark.parametrize("make", [_timm, _transformers])
@pytest.mark.parametrize("patches", [2, 5])
def test_both_forms_agree_with_float64(make: Any, patches: int) -> None:
    torch.manual_seed(0)
    network = make(16 * patches)
    x = torch.randn(3, 3, 16 * patches, 16 * patches)
    exact, exact_gradient = _gradient(network.double(), x.double(), bf16=False)
    network.float()
    fused, fused_gradient = _gradient(network, x, bf16=True)
    choose = choose_in_timm if make is _timm else choose_in_transformers
    choose(network)
    plain, plain_gradient = _gradient(network, x, bf16=True)
    in_fp32, fp32_gradient = _gradient(network, x, bf16=False)

    def away(found: Tensor, right: Tensor) -> float:
        return float((found - right).norm() / right.norm())

    assert away(in_fp32, exact) < 1e-5 and away(fp32_gradient, exact_gradient) < 1e-5
    assert away(plain, exact) < 2 * away(fused, exact) + 1e-3
    assert away(plain_gradient, exact_gradient) < 2 * away(fused_gradient, exact_gradient) + 1e-3


def test_the_form_follows_precision_and_tokens() -> None:
    network = _timm(48)
    choose_in_timm(network)
    layer: Any = next(module for module in network.modules() if hasattr(module, "fused_attn"))
    x = torch.zeros(1, 3, 48, 48)
    seen = []
    for bf16 in (False, True, False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network(x)
        seen.append(layer.fused_attn)
    assert seen == [True, False, True]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layer(torch.zeros(1, FEW + 1, layer.qkv.in_features))
    assert layer.fused_attn


def test_transformers_calls_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = _transformers(32)
    choose_in_transformers(network)
    assert network.config._attn_implementation == ATTENTION_NAME
    asked: list[tuple[int, ...]] = []

    def few(x: Tensor) -> bool:
        asked.append(tuple(x.shape))
        return True

    monkeypatch.setattr(few_patches, "is_few", few)
    _features(network, torch.zeros(1, 3, 32, 32))
    assert asked == [(1, 4, 5, 8)] * 2


def test_the_choice_is_not_written_into_a_folder(tmp_path: Any) -> None:
    network: Any = _transformers(32)
    choose_in_transformers(network)
    network.save_pretrained(tmp_path)
    assert ATTENTION_NAME not in (tmp_path / "config.json").read_text("utf-8")
