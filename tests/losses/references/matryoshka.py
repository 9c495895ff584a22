from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from nearfar import registry
from nearfar.losses.matryoshka import Matryoshka
from nearfar.pairs import Pairs
from tests.losses.batches import batches, simple

VARIANTS: list[dict[str, Any]] = [
    {},
    {"dims": [3, 2, 1], "weights": [1.0, 0.5, 0.25]},
    {"of": {"name": "infonce", "temperature": 0.5, "learnable": True, "symmetric": False}, "dims": [1, 3]},
    {"of": {"name": "triplet"}, "dims": [2]},
]
BATCHES = (batches() | simple()).filter(lambda drawn: drawn[0].shape[1] >= 3)


def reference(loss: Matryoshka, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    inner = importlib.import_module(f"tests.losses.references.{registry.name_of(type(loss.of))}")
    dims = loss.dims or [q.shape[1]]
    total = q.new_zeros(())
    for place, size in enumerate(dims):
        weight = 1.0 if loss.weights is None else loss.weights[place]
        total = total + weight * inner.reference(loss.of, cut(q, size), cut(k, size), pairs)
    return total


def cut(vectors: Tensor, size: int) -> Tensor:
    """Return the first coordinates, on the sphere; whole vectors are taken as they are."""
    short = vectors[:, :size]
    return short if size == vectors.shape[1] else short / short.norm(dim=1, keepdim=True)
