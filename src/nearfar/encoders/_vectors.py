"""Rows that are encoded already: what a layer over another encoder eats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Ids


@dataclass(frozen=True)
class Vectors:
    """Unit vectors (n, d) of the inner encoder."""

    vectors: Tensor
    padded = False

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice) -> Vectors:
        return Vectors(self.vectors[rows])

    def join(self, others: Sequence[Vectors]) -> Vectors:
        """Return self followed by the others."""
        return Vectors(torch.cat([self.vectors, *(other.vectors.to(self.vectors.device) for other in others)]))

    def costs(self) -> npt.NDArray[np.int64]:
        """Return one for each row (n,)."""
        return np.ones(len(self), np.int64)

    def to(self, device: Any) -> Vectors:
        """Return the same on another device."""
        return Vectors(self.vectors.to(device))


@dataclass(frozen=True)
class VectorStore:
    """The unit vectors (n, d) of a whole column, on disk."""

    vectors: npt.NDArray[np.float32]

    def __getitem__(self, rows: Ids) -> Vectors:
        return Vectors(torch.from_numpy(self.vectors[rows]))
