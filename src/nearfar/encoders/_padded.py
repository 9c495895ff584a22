"""An encoder over padded tokens: the form that other runtimes have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Padded(nn.Module):
    """(input_ids (n, l), attention_mask (n, l), right-padded) -> vectors (n, dim).

    hidden: (input_ids, attention_mask) -> (n, l, d). pooling: modes of `_pooling`, joined in their order.
    """

    def __init__(self, hidden: nn.Module, pooling: list[str], after: nn.Module) -> None:
        super().__init__()
        self.hidden, self.pooling, self.after = hidden, pooling, after

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return raw vectors (n, dim)."""
        hidden = self.hidden(input_ids, attention_mask)  # (n, l, d)
        real = attention_mask.to(hidden.dtype)[..., None]  # (n, l, 1)
        vectors: Tensor = self.after(torch.cat([_pooled(hidden, real, mode) for mode in self.pooling], 1))  # (n, dim)
        return vectors


class Hidden(nn.Module):
    """A transformers model's last hidden states, by attention that other runtimes have."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        backbone.set_attn_implementation("sdpa")
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (n, l, d)."""
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


class Looked(nn.Module):
    """The vectors of tokens alone."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding(table.shape[0], table.shape[1], _weight=table, _freeze=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # noqa: ARG002 (as the others are called)
        """Return (n, l, d)."""
        vectors: Tensor = self.table(input_ids)
        return vectors


def _pooled(hidden: Tensor, real: Tensor, mode: str) -> Tensor:
    """Return one pooling (n, d) of hidden states (n, l, d); real (n, l, 1): 1 at a text's own tokens, 0 behind them."""
    if mode == "cls":
        return hidden[:, 0]
    if mode == "max":
        return hidden.masked_fill(real == 0, -torch.inf).amax(1)
    size = real.sum(1).clamp(min=1)  # (n, 1)
    if mode == "lasttoken":
        last = (size.long() - 1)[..., None].expand(-1, -1, hidden.shape[2])  # (n, 1, d)
        return hidden.gather(1, last)[:, 0]
    weights = real.cumsum(1) * real if mode == "weightedmean" else real  # (n, l, 1)
    total = weights.sum(1).clamp(min=1)  # (n, 1)
    return (hidden * weights).sum(1) / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)
