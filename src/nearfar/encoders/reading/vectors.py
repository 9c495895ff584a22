"""Inputs that are rows of one tensor: vectors, flattened arrays, pictures of one size; no row is padded to another."""

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
class VectorInputs:
    """n rows of one tensor, `vectors` (n, ...); each costs the same."""

    vectors: Tensor
    padded = False

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice) -> VectorInputs:
        return VectorInputs(self.vectors[rows])

    def join(self, others: Sequence[VectorInputs]) -> VectorInputs:
        """Return self followed by the others."""
        return VectorInputs(torch.cat([self.vectors, *(other.vectors.to(self.vectors.device) for other in others)]))

    def costs(self) -> npt.NDArray[np.int64]:
        """Return 1 for each row, (n,)."""
        return np.ones(len(self), np.int64)

    def to(self, device: Any) -> VectorInputs:
        """Return the same on another device."""
        return VectorInputs(self.vectors.to(device))


@dataclass(frozen=True)
class VectorStore:
    """The rows of a whole column as one array (n, ...), in memory or memory-mapped.

    place: where each of n rows lies in a smaller array, in which equal cells lie once.
    """

    vectors: npt.NDArray[Any]
    place: Ids | None = None

    def __getitem__(self, rows: Ids) -> VectorInputs:
        return VectorInputs(torch.from_numpy(self.vectors[rows if self.place is None else self.place[rows]]))
