"""BERT's forward pass of one text in numpy, for a query whose answer should not wait for torch's import.

The layers are those of Devlin et al. 2019 (arXiv:1810.04805) and of RoBERTa, which only counts positions from another
number: x = LN(x + W_o attention(x)), x = LN(x + W_2 gelu(W_1 x)), LN(y) = g (y - mean y) / sqrt(var y + eps) + b.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
_WORDS = "embeddings.word_embeddings.weight"
_UNREAD = re.compile(r"position_ids$|token_type_ids$|(^|\.)pooler\.|^(cls|lm_head|classifier)\.")  # not of the states
_LAYER = re.compile(r"^encoder\.layer\.(\d+)\.")
_LINEAR = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "1": "intermediate.dense",
    "2": "output.dense",
}
_NORMS = {"attention": "attention.output.LayerNorm", "output": "output.LayerNorm"}
# erf(x) = x P(x^2) / Q(x^2) to 5e-7, the coefficients of Eigen and XLA, highest power first; beyond 4 it is 1. Python's
# own is called number by number, fifty times as slow; scipy has one whose import takes as long as the rest of a search.
_P = (-2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
      -2.95459980854025e-3, -1.60960333262415e-2)  # fmt: skip
_Q = (-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2)


@dataclass(frozen=True)
class Bert:
    """The weights by name, without the model's prefix, and the numbers of its config that they do not show.

    heads: of attention. eps: of the layer norms. first_position: the position of a text's first token.
    """

    weights: Mapping[str, Array]
    layers: int
    heads: int
    eps: float
    first_position: int

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], heads: int, eps: float, first_position: int) -> Self | None:
        """Return the model of a file's tensors by name; None where they are not those of BERT and no others."""
        prefix = next((name.removesuffix(_WORDS) for name in arrays if name.endswith(_WORDS)), None)
        if prefix is None:
            return None
        named = {name.removeprefix(prefix): array for name, array in arrays.items()}
        held = {name: array.astype(np.float32, copy=False) for name, array in named.items() if not _UNREAD.search(name)}
        layers = len({found[1] for name in held if (found := _LAYER.match(name))})
        if set(held) != set(_names(layers)) or held[_WORDS].shape[1] % heads:
            return None
        return cls(held, layers, heads, eps, first_position)

    def states(self, ids: npt.NDArray[np.integer[Any]]) -> Array:
        """Return the last hidden states (t, d) of a text's token ids (t,)."""
        weights, places = self.weights, self.first_position + np.arange(len(ids))
        x = weights[_WORDS][ids] + weights["embeddings.position_embeddings.weight"][places]
        x = self._norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            x = self._norm(at + _NORMS["attention"], x + self._attention(at, x))
            inner = _gelu(self._linear(at + _LINEAR["1"], x))
            x = self._norm(at + _NORMS["output"], x + self._linear(at + _LINEAR["2"], inner))
        return x

    def _attention(self, at: str, x: Array) -> Array:
        """Return W_o of the heads' softmax(q k' / sqrt(d_h)) v, (t, d)."""
        q, k, v = (
            self._linear(at + _LINEAR[one], x).reshape(len(x), self.heads, -1).transpose(1, 0, 2) for one in "qkv"
        )  # (heads, t, d_h)
        scores = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(q.shape[2]))
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return self._linear(at + _LINEAR["o"], (p @ v).transpose(1, 0, 2).reshape(len(x), -1))

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.eps))
        y: Array = centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return y


def _names(layers: int) -> list[str]:
    """Return the names of all tensors of a model with so many layers."""
    tables = [_WORDS, "embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"]
    inside = [f"encoder.layer.{i}.{part}" for i in range(layers) for part in (*_LINEAR.values(), *_NORMS.values())]
    return tables + [f"{part}.{what}" for part in ["embeddings.LayerNorm", *inside] for what in ("weight", "bias")]


def _gelu(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + _erf(x / np.float32(math.sqrt(2))))
    return y


def _erf(x: Array) -> Array:
    near = np.clip(x, -4, 4)
    square = near * near
    y: Array = near * _polynomial(_P, square) / _polynomial(_Q, square)
    return y


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    y = np.full_like(x, coefficients[0])
    for each in coefficients[1:]:
        y *= x
        y += np.float32(each)
    return y


_POOLED: dict[str, Callable[[Array], Array]] = {  # of one text's states (t, d)
    "cls": lambda x: x[0],
    "lasttoken": lambda x: x[-1],
    "max": lambda x: x.max(0),
    "mean": lambda x: x.mean(0),
    "mean_sqrt_len_tokens": lambda x: x.sum(0) / np.float32(math.sqrt(len(x))),
    "weightedmean": lambda x: np.arange(1, len(x) + 1, dtype=np.float32) @ x / np.float32(len(x) * (len(x) + 1) / 2),
}


def pool(x: Array, modes: Sequence[str]) -> Array:
    """Return a text's vector (d * modes,) of its states (t, d), as `reading.pooling` computes it."""
    return np.concatenate([_POOLED[mode](x) for mode in modes])
