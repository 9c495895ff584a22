"""Tiny random transformers of every architecture that is to be packed."""

from __future__ import annotations

import functools
from typing import Any

from nearfar.column import ListColumn
from nearfar.encoders.transformer import Transformer

WORDS = ["near", "far", "pull", "push", "anchor", "positive", "negative", "vector", "space", "query", "key", "loss"]
TEXTS = [" ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(1 + (i * 5) % 37)) for i in range(23)]

_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_DECODER = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**_SMALL, "max_position_embeddings": 64},
    "roberta": {**_SMALL, "max_position_embeddings": 70},
    "xlm-roberta": {**_SMALL, "max_position_embeddings": 70},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64},
    "mpnet": {**_SMALL, "max_position_embeddings": 70},
    "modernbert": {**_SMALL, "max_position_embeddings": 64, "local_attention": 8, "num_hidden_layers": 4},
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "llama": _DECODER,
}
PADDED = {"mpnet"}  # a bias by distance, which packed attention does not have


def tiny(kind: str, **settings: Any) -> Transformer:
    """Return a prepared encoder of an architecture, with random weights and without dropout unless asked for."""
    encoder = Transformer(config={"model_type": kind, **CONFIGS[kind]}, vocabulary=300, **{"dropout": 0.0, **settings})
    encoder.prepare([column()])
    return encoder


@functools.cache
def column() -> ListColumn:
    return ListColumn("text", TEXTS)
