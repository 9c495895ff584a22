"""From tokens to a text: sentence-transformers' poolings over packed tokens, and its dense layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from nearfar.encoders.packed.packing import Packing
from nearfar.encoders.pretrained.folder import read_settings
from nearfar.errors import InputError, nearest
from nearfar.storage.folders import write_text
from nearfar.storage.weights import read_weights, write_weights

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")  # joined in this order
OLD = {  # the form of older folders: one switch for each
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")


def pool(x: Tensor, packing: Packing, modes: Sequence[str]) -> Tensor:
    """Return texts (n, d * modes), in the packing's order, of their tokens x (t, d); sums are in fp32 at least."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return torch.cat([_pooled(x, packing, mode).to(exact) for mode in modes], 1)


def _pooled(x: Tensor, packing: Packing, mode: str) -> Tensor:
    """Return texts (n, d) by one mode."""
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
    sums = exact.new_zeros(len(size), exact.shape[1]).index_add(0, packing.row, exact)  # (n, d)
    return sums / size[:, None]


def modes_of(path: Path, given: dict[str, Any]) -> list[str]:
    """Return the modes that a Pooling module's config.json names, in either of its forms.

    Errors: `InputError` for a mode, or a setting that leaves out the prompt's tokens, that is not known.
    """
    if given.get("include_prompt") is False:
        raise InputError(f"{path}: include_prompt false (the prompt's tokens left out of the pooling) is not known")
    chosen = given.get("pooling_mode")
    if chosen is None:
        return [mode for old, mode in OLD.items() if given.get(old)] or ["mean"]
    return checked_modes(str(path), [chosen] if isinstance(chosen, str) else chosen)


def checked_modes(where: str, names: Sequence[str]) -> list[str]:
    """Return poolings as they are joined. Errors: `InputError` for an unknown one, or none."""
    if not isinstance(names, list | tuple) or not names:
        raise InputError(f"{where}: no pooling is named; known: {', '.join(MODES)}")
    for name in names:
        if name not in MODES:
            raise InputError(f"{where}: no pooling is called {name!r}; {nearest(str(name), MODES)}")
    return list(names)


class Dense(nn.Module):
    """sentence-transformers' Dense: an activation over a linear layer, (n, in) -> (n, out)."""

    def __init__(self, inside: int, out: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.linear = nn.Linear(inside, out, bias=bias)
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
        inside, out = given.get("in_features"), given.get("out_features")
        if not (isinstance(inside, int) and isinstance(out, int) and inside > 0 and out > 0):
            raise InputError(f"{path}: in_features and out_features must be whole numbers, not {inside!r} and {out!r}")
        shapes = {"linear.weight": (out, inside)} | ({"linear.bias": (out,)} if given.get("bias", True) else {})
        weights = read_weights(folder / "model.safetensors", [*shapes])
        for key, shape in shapes.items():
            if tuple(weights[key].shape) != shape:
                raise InputError(
                    f"{folder / 'model.safetensors'}: {key} is {tuple(weights[key].shape)}, config.json asks for "
                    f"{shape}; the folder's files do not belong together"
                )
        layer = cls(inside, out, "linear.bias" in shapes, kind)
        layer.load_state_dict({key: weight.float() for key, weight in weights.items()})
        return layer

    def config(self) -> dict[str, Any]:
        """Return what sentence-transformers reads."""
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
        vectors: Tensor = self.after(
            torch.cat([_pooled_padded(hidden, real, mode) for mode in self.pooling], 1)
        )  # (n, dim)
        return vectors


class HiddenStates(nn.Module):
    """A transformers model's last hidden states, by attention that other runtimes have."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        backbone.set_attn_implementation("sdpa")
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (n, l, d)."""
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


class TokenLookup(nn.Module):
    """The vectors of tokens alone."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding(table.shape[0], table.shape[1], _weight=table, _freeze=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # noqa: ARG002 (as the others are called)
        """Return (n, l, d)."""
        vectors: Tensor = self.table(input_ids)
        return vectors


def _pooled_padded(hidden: Tensor, real: Tensor, mode: str) -> Tensor:
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
