"""Pixels: cells are as similar as their raw values."""

from __future__ import annotations

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
        return predictions_of(
            _Pixels(), task, seed, {"name": "pixels", "picture": f"{_SIDE} x {_SIDE}", "recording": _TIME}
        )


class _Pixels:
    def embed(self, cells: list[Any], /, role: str | None = None) -> Vectors:  # noqa: ARG002  both sides are alike
        rows = [_values(cell) for cell in cells]
        if len({len(row) for row in rows}) > 1:
            sizes = sorted({len(row) for row in rows})
            raise InputError(f"pixels: cells must have equally many values, they have {sizes[0]} to {sizes[-1]}")
        vectors = np.stack(rows)  # (n, d)
        vectors -= vectors.mean(1, keepdims=True)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return unit


def _values(cell: Any) -> Vectors:
    """Return the values of one cell, (d,)."""
    kind = kind_of(cell)
    values = cell.detach().float().cpu() if isinstance(cell, Tensor) else torch.from_numpy(np.array(cell, np.float32))
    if not values.numel() or not bool(values.isfinite().all()):
        raise InputError(f"pixels: a {kind} has {'no values' if not values.numel() else 'values that are not finite'}")
    if kind == "image":
        values = adaptive_avg_pool2d(values.permute(2, 0, 1), (_SIDE, _SIDE))  # (3, 32, 32)
    elif kind == "recording":
        values = adaptive_avg_pool1d(values.T, _TIME)  # (channels, 128)
    flat: Vectors = values.flatten().numpy()
    return flat
