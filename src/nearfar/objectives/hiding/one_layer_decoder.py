"""A decoder of one layer, which predicts hidden tokens from the vector of a text and the few tokens that are left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class OneLayerDecoder(nn.Module):
    """One layer of a transformer over (the vector of a text, the embeddings of its tokens), each text by itself.

    It is so weak that what it knows of hidden tokens must come from the vector. width: of vectors and embeddings.
    longest: tokens of a text. heads: of attention.
    """

    def __init__(self, width: int, longest: int, heads: int) -> None:
        super().__init__()
        self.places = nn.Embedding(longest + 1, width)  # 0 is that of the vector
        nn.init.normal_(self.places.weight, std=0.02)
        self.norm = nn.LayerNorm(width)
        # Without biases: those of keys change nothing, so that Adam would move them by rounding alone.
        more: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "bias": False}
        self.layer = nn.TransformerEncoderLayer(width, heads, 4 * width, **more)

    def forward(self, vectors: Tensor, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Return the states (t, d) of the tokens of n texts, of their vectors (n, d) and embedded tokens (t, d).

        lengths (n,): tokens of each text. Texts are padded to the longest.
        """
        n, longest = len(lengths), int(lengths.max())
        filled = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (n, longest)
        padded = embedded.new_zeros(n, longest, embedded.shape[1])
        padded = padded.masked_scatter(filled[..., None], embedded)  # (n, longest, d)
        x = torch.cat([vectors[:, None].to(padded.dtype), padded], 1)  # (n, 1 + longest, d)
        x = self.norm(x + self.places.weight[: longest + 1].to(x.dtype))
        ignored = torch.cat([filled.new_zeros(n, 1), ~filled], 1)  # padding is no key
        out: Tensor = self.layer(x, src_key_padding_mask=ignored)[:, 1:][filled]
        return out
