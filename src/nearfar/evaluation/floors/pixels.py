"""Pixels: cells are as similar as their raw values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from nearfar import tasks
from nearfar.column import kind_of
from nearfar.contracts import Predictions
from nearfar.errors import InputError
from nearfar.evaluation.predictions import predictions_of
from nearfar.vectors.embed import Vectors

_SIDE = 32  # pixels of a picture's side
_TIME = 128  # frames of a recording
_BLOCK = 64  # cells read together: photographs are large


class PixelsFloor:
    """The raw values of a cell as its vector, less their mean, so that the cosine is their correlation.

    A picture is averaged to 32 x 32 pixels, a recording to 128 frames; a vector is taken as it is.
    """

    takes: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    reads: ClassVar[tuple[str, ...]] = ("image", "recording", "vector")
    usual: ClassVar[tuple[type, ...]] = tasks.TASK_TYPES
    fused: ClassVar[bool] = True

    def __call__(self, task: tasks.Task, seed: int) -> Predictions:
        """Return what the raw values make of a task."""
        return self.of_columns(task, seed, None)

    def of_columns(self, task: tasks.Task, seed: int, columns: Sequence[str] | None) -> Predictions:
        """Return what the raw values of some columns make of a task (`abilities.EmbedsColumns`); None is all."""
        about = {"name": "pixels", "picture": f"{_SIDE} x {_SIDE}", "recording": _TIME}
        return predictions_of(_Pixels(), task, seed, columns, about)


class _Pixels:
    def embed(self, cells: list[Any], /, role: str | None = None) -> Vectors:  # noqa: ARG002  both sides are alike
        alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for row, cell in enumerate(cells):
            alike.setdefault((kind_of(cell), tuple(np.shape(cell))), []).append(row)
        found = {key: _values(key[0], [cells[row] for row in rows]) for key, rows in alike.items()}
        if len(sizes := sorted({values.shape[1] for values in found.values()})) > 1:
            raise InputError(f"pixels: cells must have equally many values, they have {sizes[0]} to {sizes[-1]}")
        vectors = np.empty((len(cells), *sizes), np.float32)  # (n, d)
        for key, rows in alike.items():
            vectors[rows] = found[key]
        vectors -= vectors.mean(1, keepdims=True)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


def _values(kind: str, cells: list[Any]) -> Vectors:
    """Return the values of n cells of one kind and shape, (n, d)."""
    blocks = []
    for start in range(0, len(cells), _BLOCK):
        block = [
            cell.detach().float().cpu() if isinstance(cell, Tensor) else torch.from_numpy(np.array(cell, np.float32))
            for cell in cells[start : start + _BLOCK]
        ]
        values = torch.stack(block)  # (b, ...)
        if not values.numel() or not bool(values.isfinite().all()):
            why = "values that are not finite" if values.numel() else "no values"
            raise InputError(f"pixels: a {kind} has {why}")
        if kind == "image":
            values = adaptive_avg_pool2d(values.permute(0, 3, 1, 2), (_SIDE, _SIDE))  # (b, 3, 32, 32)
        elif kind == "recording":
            values = adaptive_avg_pool1d(values.transpose(1, 2), _TIME)  # (b, channels, 128)
        blocks.append(values.flatten(1).numpy())
    found: Vectors = np.concatenate(blocks)
    return found
