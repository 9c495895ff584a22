"""Parts for a run on arrays: a data set of small random pictures, their augmentation, a convolution with batch norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids, ListColumn, take
from nearfar.compute.draws import Draws
from nearfar.contracts import Data
from nearfar.encoders.reading.vectors import VectorInputs
from nearfar.errors import InputError
from nearfar.storage.weights import read_weights, write_weights

SIZE = 8


class Pictures:
    """Random pictures (8, 8, 3) of bytes in four classes, each with a colour of its own; every fifth is held out."""

    def __init__(self, n: int = 200, seed: int = 0, rows: Sequence[int] | None = None) -> None:
        self.columns = ["image", "label"]
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 4, n)
        colours = np.array([[90, 0, 0], [0, 90, 0], [0, 0, 90], [45, 45, 45]])
        pictures = draw.integers(0, 160, (n, SIZE, SIZE, 3)) + colours[labels][:, None, None]
        self.n, self.seed, self.rows = n, seed, [i for i in range(n) if i % 5] if rows is None else list(rows)
        self.images = list(pictures[self.rows].astype(np.uint8))
        self.labels = [f"class {label}" for label in labels[self.rows]]
        self.fingerprint = f"pictures {n} {seed} {self.rows}"
        self.splits = ["train", "heldout"]

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Column:
        """Return the pictures or the labels."""
        if name not in self.columns:
            raise InputError(f"pictures: no column {name!r}; there are image and label")
        return ListColumn(name, self.images if name == "image" else self.labels)

    def split(self, name: str) -> Data:
        """Return the training rows or those held out."""
        if name not in self.splits:
            raise InputError(f"pictures: no split {name!r}; there are train and heldout")
        return self if name == "train" else Pictures(self.n, self.seed, range(0, self.n, 5))


class Shifted:
    """Pictures that are rolled by up to `most` pixels and made brighter or darker, all of a batch at once."""

    def __init__(self, most: int = 2) -> None:
        self.most = most

    def __call__(self, cells: Any, draws: Draws) -> Any:
        """Return the pictures (n, h, w, 3) of a tensor changed; of a list, each."""
        if not isinstance(cells, Tensor):
            parts = zip(cells, (draws[[i]] for i in range(len(cells))), strict=True)
            return [self(torch.as_tensor(cell)[None], draw)[0] for cell, draw in parts]
        n, h, w, _ = cells.shape
        steps = draws.integers(2, 2 * self.most + 1) - self.most  # (n, 2)
        rows = (torch.arange(h) + steps[:, :1]) % h  # (n, h)
        columns = (torch.arange(w) + steps[:, 1:]) % w  # (n, w)
        rolled = cells[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        factor = draws.uniform(1, 0.7, 1.2, lane=1)[:, :, None, None]
        return (rolled.float() * factor).clamp(0, 255).to(torch.uint8)


class SmallConvolution(nn.Module):
    """Two convolutions with batch norm, and a mean over places."""

    reads: tuple[str, ...] = ("image",)

    def __init__(self, dim: int = 16, channels: int = 12) -> None:
        super().__init__()
        self.dim, self.channels = dim, channels
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, dim, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(dim), nn.ReLU()),
        ).double()

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn nothing from the data."""

    def inputs(self, cells: Any) -> VectorInputs:
        """Return pictures as a tensor (n, h, w, 3)."""
        if not isinstance(cells, Tensor):
            cells = (
                torch.stack([torch.as_tensor(cell) for cell in cells]) if len(cells) else torch.zeros(0, SIZE, SIZE, 3)
            )
        return VectorInputs(cells)

    def store(self, column: Column) -> Any:
        """Return a column's pictures, read when they are asked for."""
        outer = self

        class Store:
            def __getitem__(self, rows: Ids) -> VectorInputs:
                return outer.inputs(take(column, rows))

        return Store()

    def forward(self, inputs: VectorInputs) -> Tensor:
        """Return vectors (n, dim)."""
        x = inputs.vectors.permute(0, 3, 1, 2).double() / 127.5 - 1  # (n, 3, h, w)
        vectors: Tensor = self.layers(x).mean((2, 3))  # (n, dim)
        return vectors

    def settings(self) -> dict[str, Any]:
        """Return the constructor's settings."""
        return {"dim": self.dim, "channels": self.channels}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the vectors depend on."""
        yield from ((name, value.detach().float().numpy()) for name, value in self.state_dict().items())

    def save(self, folder: Path) -> list[Any]:
        """Write weights and statistics; no other tool reads them."""
        write_weights(folder / "small.safetensors", self.state_dict())
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote."""
        encoder = cls(**settings)
        encoder.load_state_dict(read_weights(folder / "small.safetensors", list(encoder.state_dict())))
        return encoder
