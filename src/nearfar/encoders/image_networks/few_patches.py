"""Attention over few patches in bf16 on a CPU, by plain matrix products.

o = softmax(scale q k') v (Vaswani et al. 2017, arXiv:1706.03762). torch's fused kernel does not hold the scores, which
few patches do not need, and its backward pass in bf16 takes several times as long there: a whole step of a small vision
transformer took 1.4 times as long with it. In fp32 the two are equal, and the fused one needs less memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FEW = 128  # tokens up to which the scores take at most two fifths of what a layer keeps for its backward pass
ATTENTION_NAME = "nearfar_few_patches"


def is_few(x: Tensor) -> bool:
    """Return whether tokens (..., t, d) are read in bf16 on a CPU and are few enough for plain products."""
    bf16 = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and bf16 and x.shape[-2] <= FEW


def choose_in_timm(network: nn.Module) -> None:
    """Let each attention layer of a timm network choose its form at each call, by the tokens that it is given."""
    for module in network.modules():
        fused = getattr(module, "fused_attn", None)
        if isinstance(fused, bool) and fused:
            module.register_forward_pre_hook(_choose)


def _choose(module: Any, given: tuple[Any, ...]) -> None:
    x = given[0]
    module.fused_attn = not (x.dim() == 3 and is_few(x))  # (n, t, d); some layers take (n, d, h, w)


def choose_in_transformers(model: Any) -> None:
    """Let a picture model of transformers that uses torch's fused attention choose at each call."""
    from transformers import AttentionInterface

    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION_NAME, _attention)
        model.set_attn_implementation(ATTENTION_NAME)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return attention (n, t, heads, d) of query, key and value (n, heads, t, d)."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    causal = others.get("is_causal") or getattr(module, "is_causal", False)
    if attention_mask is not None or causal or query.shape != key.shape or not is_few(query):
        fused = ALL_ATTENTION_FUNCTIONS["sdpa"]
        out, _ = fused(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)
        return out, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = (query * scale @ key.transpose(-2, -1)).softmax(-1).to(query.dtype)  # (n, heads, t, t)
    weights = nn.functional.dropout(weights, dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None
