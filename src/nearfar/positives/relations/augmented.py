"""Cells changed by an augmentation, a whole batch at once: in training anew each epoch, for tasks always alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from nearfar.column import Column, Ids, is_empty, kind_of, take
from nearfar.compute.draws import Draws
from nearfar.contracts import StreamedAugmentation
from nearfar.errors import InputError

TASK_SEED = 20_040  # of the augmentations of tasks, which never change


def stacked(cells: Sequence[Any]) -> Any:
    """Return arrays of one shape and type as one tensor (n, ...), and other cells as a list."""
    if not cells or not all(isinstance(cell, np.ndarray | Tensor) for cell in cells):
        return list(cells)
    if len({(type(cell), tuple(cell.shape), cell.dtype) for cell in cells}) > 1:
        return list(cells)
    if isinstance(cells[0], Tensor):
        return torch.stack(list(cells))  # (n, ...)
    return torch.from_numpy(np.stack(cells))  # (n, ...)


def augmented_cells(
    streamed: StreamedAugmentation, cells: Sequence[Any], seeds: Ids, name: str, rows: Ids
) -> Sequence[Any]:
    """Return the cells of some rows (n,) augmented: a tensor (n, ...) where the augmentation returns one, else a list.

    seeds (n, s): what the random numbers of each row are drawn from, together with the stream. name: of the view, for
    errors.

    Errors: `InputError` for an augmentation that returns another number of cells, or leaves nothing of one, by row.
    """
    changed = streamed.augmentation(stacked(cells), Draws.of(seeds, streamed.stream))
    if len(changed) != len(cells):
        raise InputError(
            f"view {name!r}: its augmentation made {len(changed)} of {len(cells)} cells; it must return one for each"
        )
    for row, (cell, now) in enumerate(zip(cells, changed, strict=True)):
        if is_empty(now) and not is_empty(cell):
            raise InputError(f"view {name!r}: nothing is left of row {rows[row] + 1}; a view must leave something")
    return cast("Sequence[Any]", changed) if isinstance(changed, Tensor) else list(changed)


def augment_fixed(
    streamed: StreamedAugmentation | None, cells: Sequence[Any], ids: Ids, name: str, rows: Ids, draw: int = 0
) -> list[Any]:
    """Return each cell augmented, always alike: by its content id (n,). Without an augmentation, the cells themselves.

    draw: another number gives another result of each cell, as much alike every time.

    Tensors become numpy arrays, as a data set holds them.
    """
    if streamed is None:
        return list(cells)
    seeds = np.stack([np.full(len(ids), TASK_SEED + draw), ids], 1)  # (n, 2)
    changed = augmented_cells(streamed, cells, seeds, name, rows)
    return [cell.numpy() if isinstance(cell, Tensor) else cell for cell in changed]


@dataclass(frozen=True, eq=False)
class AugmentedColumn:
    """A column of some rows (n,) of another one, augmented by their content ids (n,) whenever they are read.

    data_rows: the row of the data that each cell of the other column is from, for errors. draw: see `augment_fixed`.
    """

    name: str
    column: Column
    rows: Ids
    ids: Ids
    streamed: StreamedAugmentation
    data_rows: Ids
    draw: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the augmented cells `start` to `stop`."""
        rows = self.rows[start:stop]
        cells, ids, data_rows = take(self.column, rows), self.ids[start:stop], self.data_rows[rows]
        return augment_fixed(self.streamed, cells, ids, self.name, data_rows, self.draw)


def shown(cell: Any) -> Any:
    """Return a cell for people to read: a text as it is, of an array what it is."""
    if isinstance(cell, np.ndarray | Tensor):
        return f"{kind_of(cell)} of {' x '.join(map(str, cell.shape))}"
    return cell
