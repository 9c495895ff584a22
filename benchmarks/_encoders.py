"""Encoders of the cached step's contest, and rows for them: random, for only time and memory are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.contracts import Inputs

DIM, TOKENS, WORDS = 384, 32, 20_000


@dataclass(frozen=True)
class Rows:
    """Token ids, (n, t)."""

    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.ids[rows])

    def join(self, others: Sequence[Self]) -> Self:
        return type(self)(torch.cat([self.ids, *(other.ids for other in others)]))

    def costs(self) -> Any:
        return np.full(len(self), self.ids.shape[1])

    def to(self, device: Any) -> Self:
        return type(self)(self.ids.to(device))


class Transformer(nn.Module):
    """Six layers of 384 with twelve heads, as MiniLM has: mean-pooled, from nothing."""

    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, DIM)
        layer = nn.TransformerEncoderLayer(DIM, 12, 4 * DIM, dropout=0.1, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)

    def forward(self, inputs: Rows) -> Tensor:
        pooled: Tensor = self.layers(self.embedding(inputs.ids)).mean(1)  # (n, d)
        return pooled


def encoder_and_inputs(name: str, rows: int) -> tuple[nn.Module, Inputs]:
    """Return an encoder and the inputs of so many rows of 32 tokens."""
    torch.manual_seed(0)
    ids = np.random.default_rng(0).integers(0, WORDS, (rows, TOKENS))
    if name == "transformer":
        return Transformer(), Rows(torch.from_numpy(ids))
    from nearfar.encoders.reading.bags import Bags
    from nearfar.encoders.static import Static

    static = Static(dim=DIM)
    static.embedding = nn.EmbeddingBag.from_pretrained(0.05 * torch.randn(WORDS, DIM), freeze=False)
    return static, Bags.of(ids.ravel(), np.full(rows, TOKENS), WORDS)
