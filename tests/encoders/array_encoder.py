"""A small encoder of pictures: in recipes `tests.encoders.array_encoder:Tiny`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids, take
from nearfar.contracts import ForeignForm
from nearfar.storage.weights import read_weights, write_weights


@dataclass(frozen=True)
class _Pixels:
    """Pictures (n, h, w, 3) of bytes, of one size."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.values[rows])

    def join(self, others: Sequence[Self]) -> Self:
        parts = [part.values for part in (self, *others) if len(part)]
        return type(self)(torch.cat(parts) if parts else self.values)

    def costs(self) -> npt.NDArray[np.int64]:
        return np.full(len(self), int(np.prod(self.values.shape[1:3])), np.int64)

    def to(self, device: Any) -> Self:
        return type(self)(self.values.to(device))


@dataclass(frozen=True)
class _Store:
    """The pictures of a column, read when they are asked for."""

    encoder: Tiny
    column: Column

    def __getitem__(self, rows: Ids) -> _Pixels:
        return self.encoder.inputs(take(self.column, rows))


class Tiny(nn.Module):
    """A convolution and a mean over pictures of bytes, (h, w, 3) each, all of one size."""

    reads: tuple[str, ...] = ("image", "array")

    def __init__(self, dim: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.dim, self.seed = dim, seed
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.convolution = nn.Conv2d(3, dim, 3, padding=1)
            self.linear = nn.Linear(dim, dim)
        self.prepared: list[str] = []  # the names of the columns that `prepare` was shown

    def prepare(self, columns: Sequence[Column]) -> None:
        self.prepared += [column.name for column in columns]

    def forward(self, pixels: _Pixels) -> Tensor:
        x = pixels.values.permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, 3, h, w)
        vectors: Tensor = self.linear(torch.tanh(self.convolution(x)).mean((2, 3)))  # (n, dim)
        return vectors

    def inputs(self, cells: Sequence[Any]) -> _Pixels:
        pictures = [torch.as_tensor(cell) for cell in cells]
        return _Pixels(torch.stack(pictures) if pictures else torch.zeros(0, 1, 1, 3, dtype=torch.uint8))

    def store(self, column: Column) -> _Store:
        return _Store(self, column)

    def settings(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def identity(self) -> Iterator[tuple[str, Any]]:
        for name, weight in self.state_dict().items():
            yield name, weight.detach().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        write_weights(folder / "model.safetensors", self.state_dict())
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        encoder = cls(**settings)
        encoder.load_state_dict(read_weights(folder / "model.safetensors", list(encoder.state_dict())))
        return encoder
