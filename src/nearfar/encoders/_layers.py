"""What a transformers model is made of: its layers and embeddings, what learns in them, what its config tells."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from nearfar.errors import InputError

SHAPE = (  # what of a config changes vectors, and no weight tells
    *("model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "n_heads"),
    *("hidden_act", "hidden_activation", "activation", "layer_norm_eps", "rms_norm_eps", "norm_eps"),
    *("sliding_window", "local_attention", "layer_types", "rope_parameters", "position_embedding_type"),
)


def layers(model: nn.Module) -> nn.ModuleList:
    """Return a transformer's layers: its longest list of modules."""
    lists = [child for child in model.modules() if isinstance(child, nn.ModuleList)]
    return max(lists, key=len) if lists else nn.ModuleList()


def positions(model: Any) -> int:
    """Return how many tokens of a text a model can read."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, nn.Embedding):
        offset = 0 if table.padding_idx is None else table.padding_idx + 1
        return table.num_embeddings - offset
    return int(getattr(model.config, "max_position_embeddings", None) or 10**6)


def checkpoint(model: Any) -> None:
    """Let a model compute its layers' activations again on the way back."""
    newer = getattr(model, "activation_checkpointing_enable", None)
    (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})


def set_dropout(model: Any, p: float) -> None:
    """Give every dropout of a model one probability, those that its attention reads from the config, too."""
    for child in model.modules():
        if isinstance(child, nn.Dropout):
            child.p = p
        for name in ("attention_dropout", "dropout_prob", "dropout"):
            if isinstance(getattr(child, name, None), float):
                setattr(child, name, p)


def freeze(model: nn.Module, count: int) -> None:
    """Keep the first layers, and the embeddings below them, as they are. Errors: `InputError` for too many."""
    known = layers(model)
    if not 0 <= count <= len(known):
        raise InputError(f"encoder.frozen: the model has {len(known)} layers, so 0 to {len(known)} can be frozen")
    if count:
        embeddings(model).requires_grad_(False)
        known[:count].requires_grad_(False)


def depths(encoder: nn.Module) -> dict[str, int]:
    """Return how high each parameter of an encoder lies, by name: embeddings 0, layers 1 and up, the rest on top."""
    backbone: Any = encoder.get_submodule("backbone")
    known = layers(backbone)
    of = {id(p): 0 for p in embeddings(backbone).parameters()}
    of |= {id(p): i for i, layer in enumerate(known, 1) for p in layer.parameters()}
    return {name: of.get(id(p), len(known) + 1) for name, p in encoder.named_parameters()}


def embeddings(model: Any) -> nn.Module:
    """Return what turns token ids into a model's first hidden states."""
    whole = getattr(model, "embeddings", None)
    found: nn.Module = whole if isinstance(whole, nn.Module) else model.get_input_embeddings()
    return found


def shape_of(model: Any) -> str:
    """Return the settings of a model's config that make its space what it is, beside its weights."""
    known = model.config.to_dict()
    return json.dumps({key: known[key] for key in SHAPE if key in known}, sort_keys=True, default=str)
