"""Pooling: a text's vector from those of its tokens, and dense layers over it, as sentence-transformers has them.

`pool` takes packed tokens, for training and for `Model.embed`; `PaddedEncoder` takes padded ones, for other runtimes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from nearfar.encoders.packed.packing import Packing
from nearfar.errors import InputError, nearest
from nearfar.storage.folders import write_text
from nearfar.storage.model_files import read_settings
from nearfar.storage.weights import read_weights, write_weights

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
OLD_MODES = {  # the form of older folders, a switch for each mode; their vectors are concatenated in this order
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")


def pool(x: Tensor, packing: Packing, modes: Sequence[str]) -> Tensor:
    """Return the pooled texts (n, d * modes), in the packing's order, of tokens x (t, d); sums are in fp32 at least."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return torch.cat([_pooled(x, packing, mode).to(exact) for mode in modes], 1)


def _pooled(x: Tensor, packing: Packing, mode: str) -> Tensor:
    """Return the texts (n, d) pooled by one mode."""
    if mode == "cls":
        return x[packing.starts]
    if mode == "lasttoken":
        return x[packing.starts + packing.lengths - 1]
    if mode == "max":
        return torch.segment_reduce(x.float(), "max", lengths=packing.lengths, axis=0)
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    size = packing.lengths.to(exact.dtype)
    if mode == "weightedmean":
        exact = exact * (packing.position + 1).to(exact.dtype)[:, None]
        size = size * (size + 1) / 2
    elif mode == "mean_sqrt_len_tokens":
        size = size.sqrt()
    sums = exact.new_zeros(len(size), exact.shape[1]).index_add(0, packing.text_index, exact)  # (n, d)
    return sums / size[:, None]


def modes_of(path: Path, given: dict[str, Any]) -> list[str]:
    """Return the modes that a Pooling module's config.json names, in either of its forms.

    Errors: `InputError` for an unknown mode, and for the setting that leaves out the prompt's tokens.
    """
    if given.get("include_prompt") is False:
        raise InputError(f"{path}: include_prompt false (the prompt's tokens left out of the pooling) is not known")
    chosen = given.get("pooling_mode")
    if chosen is None:
        return [mode for old, mode in OLD_MODES.items() if given.get(old)] or ["mean"]
    return checked_modes(str(path), [chosen] if isinstance(chosen, str) else chosen)


def checked_modes(where: str, names: Sequence[str]) -> list[str]:
    """Return the pooling modes in the order given. Errors: `InputError` for an unknown mode, or none."""
    if not isinstance(names, list | tuple) or not names:
        raise InputError(f"{where}: no pooling is named; known: {', '.join(MODES)}")
    for name in names:
        if name not in MODES:
            raise InputError(f"{where}: no pooling is called {name!r}; {nearest(str(name), MODES)}")
    return list(names)


class Dense(nn.Module):
    """sentence-transformers' Dense: an activation over a linear layer, (n, in) -> (n, out)."""

    def __init__(self, in_features: int, out_features: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation: nn.Module = getattr(nn, activation)()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` and sentence-transformers write.

        Errors: `InputError` for an activation or an input that is not known, for weights of another shape.
        """
        path = folder / "config.json"
        given = read_settings(path)
        for key in ("module_input_name", "module_output_name"):
            if given.get(key) not in (None, "sentence_embedding"):
                raise InputError(f"{path}: {key} {given[key]!r} is not known; known: 'sentence_embedding'")
        name = str(given.get("activation_function", "torch.nn.modules.activation.Tanh"))
        kind = name.rsplit(".", 1)[-1]
        if kind not in ACTIVATIONS or not name.startswith("torch.nn."):
            raise InputError(f"{path}: activation {name!r} is not known; known: {', '.join(ACTIVATIONS)}")
        in_features, out_features = given.get("in_features"), given.get("out_features")
        if not (
            isinstance(in_features, int) and isinstance(out_features, int) and in_features > 0 and out_features > 0
        ):
            raise InputError(
                f"{path}: in_features and out_features must be whole numbers, not {in_features!r} and {out_features!r}"
            )
        shapes: dict[str, tuple[int, ...]] = {"linear.weight": (out_features, in_features)}
        if given.get("bias", True):
            shapes["linear.bias"] = (out_features,)
        weights = read_weights(folder / "model.safetensors", [*shapes])
        for key, shape in shapes.items():
            if tuple(weights[key].shape) != shape:
                raise InputError(
                    f"{folder / 'model.safetensors'}: {key} is {tuple(weights[key].shape)}, config.json asks for "
                    f"{shape}; the folder's files do not belong together"
                )
        layer = cls(in_features, out_features, "linear.bias" in shapes, kind)
        layer.load_state_dict({key: weight.float() for key, weight in weights.items()})
        return layer

    def config(self) -> dict[str, Any]:
        """Return the layer's config.json, as sentence-transformers reads it."""
        kind = type(self.activation)
        return {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{kind.__module__}.{kind.__name__}",
        }

    def write(self, folder: Path) -> None:
        """Write config and weights as sentence-transformers reads them."""
        write_text(folder / "config.json", json.dumps(self.config(), indent=2))
        write_weights(folder / "model.safetensors", dict(self.state_dict()))

    def forward(self, x: Tensor) -> Tensor:
        """Return activation(x W' + b)."""
        y: Tensor = self.activation(self.linear(x))
        return y


class PaddedEncoder(nn.Module):
    """An encoder over padded tokens: (input_ids (n, l), attention_mask (n, l), right-padded) -> raw vectors (n, dim).

    hidden: (input_ids, attention_mask) -> (n, l, d). pooling: modes, concatenated in their order. after: applied to the
    pooled vectors. filled: texts are filled up to one length by tokens that count, whatever the mask says.
    """

    def __init__(self, hidden: nn.Module, pooling: list[str], after: nn.Module, *, filled: bool = False) -> None:
        super().__init__()
        self.hidden, self.pooling, self.after, self.filled = hidden, pooling, after, filled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return raw vectors (n, dim)."""
        attention_mask = attention_mask.clamp(min=1) if self.filled else attention_mask
        hidden = self.hidden(input_ids, attention_mask)  # (n, l, d)
        mask = attention_mask.to(hidden.dtype)[..., None]  # (n, l, 1)
        pooled = torch.cat([_pooled_padded(hidden, mask, mode) for mode in self.pooling], 1)  # (n, d * modes)
        vectors: Tensor = self.after(pooled)  # (n, dim)
        return vectors


class HiddenStates(nn.Module):
    """A transformers model's last hidden states, with attention that other runtimes have: torch's sdpa."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        backbone.set_attn_implementation("sdpa")
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (n, l, d)."""
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


class TokenLookup(nn.Module):
    """The tokens' vectors in a table (v, d), for an encoder without attention."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding(table.shape[0], table.shape[1], _weight=table, _freeze=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # noqa: ARG002 (as the others are called)
        """Return (n, l, d)."""
        vectors: Tensor = self.table(input_ids)
        return vectors


def _pooled_padded(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """Return the texts (n, d) pooled by one mode, of hidden states (n, l, d) and a mask (n, l, 1): 1 for a token."""
    if mode == "cls":
        return hidden[:, 0]
    if mode == "max":
        return hidden.masked_fill(mask == 0, -torch.inf).amax(1)
    size = mask.sum(1).clamp(min=1)  # (n, 1)
    if mode == "lasttoken":
        last = (size.long() - 1)[..., None].expand(-1, -1, hidden.shape[2])  # (n, 1, d)
        return hidden.gather(1, last)[:, 0]
    weights = mask.cumsum(1) * mask if mode == "weightedmean" else mask  # (n, l, 1)
    total = weights.sum(1).clamp(min=1)  # (n, 1)
    return (hidden * weights).sum(1) / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)
