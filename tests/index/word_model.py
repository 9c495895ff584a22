"""A model whose vectors are sums of a random one for each word: equal texts are equal, shared words are near."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.text.analyser import words


class WordModel:
    """Embeds texts by their words, and arrays by their mean."""

    def __init__(self, dim: int = 16, name: str = "words") -> None:
        self.dim, self.name, self.fingerprint = dim, name, f"{name}-{dim}"

    def embed(self, cells: Sequence[Any], /, role: str | None = None) -> npt.NDArray[np.float32]:
        vectors = np.zeros((len(cells), self.dim), np.float32)
        for i, cell in enumerate(cells):
            if isinstance(cell, str):
                vectors[i] = sum((self._word(word) for word in words(cell)), np.full(self.dim, 1e-3))
            else:
                vectors[i] = self._word(f"array {np.asarray(cell).mean():.1f}")
        unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _word(self, word: str) -> npt.NDArray[np.float64]:
        seed = int.from_bytes(blake2b(f"{self.name} {word}".encode(), digest_size=8).digest(), "little")
        return np.random.default_rng(seed).standard_normal(self.dim)
