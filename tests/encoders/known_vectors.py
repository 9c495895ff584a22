"""Towers whose vectors are known: texts by a table, pictures by their mean colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids, take
from nearfar.contracts import ForeignForm

SIZE = 4  # pixels of a picture's side
RED, GREEN, BLUE = (np.tile(np.eye(3, dtype=np.uint8)[c] * 200, (SIZE, SIZE, 1)) for c in range(3))


@dataclass(frozen=True)
class _Vectors:
    """Vectors that are known already, (n, d)."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.values[rows])

    def join(self, others: Sequence[Self]) -> Self:
        return type(self)(torch.cat([part.values for part in (self, *others)]))

    def costs(self) -> npt.NDArray[np.int64]:
        return np.ones(len(self), np.int64)

    def to(self, device: Any) -> Self:
        return type(self)(self.values.to(device))


class _Known(nn.Module):
    dim = 3
    reads: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def prepare(self, columns: Sequence[Column]) -> None:
        """Nothing is learnt."""

    def vector(self, cell: Any) -> Any:
        raise NotImplementedError

    def inputs(self, cells: Sequence[Any]) -> _Vectors:
        values = np.array([self.vector(cell) for cell in cells], np.float32).reshape(len(cells), self.dim)
        return _Vectors(torch.from_numpy(values))

    def store(self, column: Column) -> Any:
        known = self

        class Store:
            def __getitem__(self, rows: Ids) -> _Vectors:
                return known.inputs(take(column, rows))

        return Store()

    def forward(self, inputs: _Vectors) -> Tensor:
        return inputs.values * self.scale

    def settings(self) -> dict[str, Any]:
        return {}

    def identity(self) -> Iterator[tuple[str, Any]]:
        yield "known", type(self).__name__

    def save(self, folder: Path) -> list[ForeignForm]:
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        raise NotImplementedError


class KnownTexts(_Known):
    """A text's vector is that of the first word of a table that it holds, times a weight that the table's key gives."""

    reads: tuple[str, ...] = ("text",)

    def __init__(self, table: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.table = dict(table)

    def vector(self, cell: Any) -> Any:
        return next(vector for words, vector in self.table.items() if words in cell)


class MeanColours(_Known):
    """A picture's vector is its mean colour."""

    reads: tuple[str, ...] = ("image", "array")

    def vector(self, cell: Any) -> Any:
        return np.asarray(cell, np.float32).mean((0, 1))
