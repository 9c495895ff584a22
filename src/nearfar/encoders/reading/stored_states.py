"""What the blocks below the last ones of a network give of a column's cells, stored on disk, and read in batches."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nearfar.column import Ids, ranges
from nearfar.encoders.reading.tokens import Tokens
from nearfar.encoders.reading.vectors import VectorInputs, VectorStore
from nearfar.storage.column_cache import memory_mapped

STATES, FACTS = "states", "states.json"  # files of a stored column


class StateRows(Tokens):
    """What the locked blocks give of n rows: `ids` (t, ...) are a text's states, token by token, or a picture's one."""


@dataclass(frozen=True)
class LockedStore:
    """A column's vectors, and from the share `unlock_at` of the steps on its states below the unlocked blocks."""

    vectors: VectorStore
    states: StateStore
    unlock_at: float

    def __getitem__(self, rows: Ids) -> VectorInputs:
        return self.vectors[rows]

    def at(self, share: float) -> VectorStore | StateStore:
        """Return what is read after this share of the steps."""
        return self.states if share >= self.unlock_at else self.vectors


class StateStore:
    """The states of a column's distinct cells on disk, in bf16 or fp32, and their bounds (d + 1,) in memory.

    place (n,): of each row's cell among the distinct ones.
    """

    def __init__(self, folder: Path, place: Ids) -> None:
        self.place = place
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.bf16, shape = facts["bf16"], facts["shape"]
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        size = int(self.offsets[-1]) * math.prod(shape)
        kind: Any = np.int16 if self.bf16 else np.float32
        self.values = memory_mapped(folder / STATES, kind, size).reshape(int(self.offsets[-1]), *shape)

    def __getitem__(self, rows: Ids) -> StateRows:
        cells = self.place[rows]
        start, size = self.offsets[cells], self.offsets[cells + 1] - self.offsets[cells]
        values = torch.from_numpy(self.values[ranges(start, size)])
        return StateRows.of(values.view(torch.bfloat16) if self.bf16 else values, size)


class StateWriter:
    """Writes the states of a column, some rows at a time, as `StateStore` reads them.

    numpy has no bf16: the bits of such numbers are written as whole ones.
    """

    def __init__(self, folder: Path, *, bf16: bool) -> None:
        self.folder, self.bf16 = folder, bf16
        self.shape: tuple[int, ...] = (0,)
        self.lengths = [np.zeros(1, np.int64)]

    def __enter__(self) -> Self:
        self._file = (self.folder / STATES).open("wb")
        return self

    def write(self, rows: StateRows) -> None:
        """Write some rows."""
        values = rows.ids.contiguous().cpu()
        self.shape = tuple(values.shape[1:])
        values = values.to(torch.bfloat16).view(torch.int16) if self.bf16 else values.float()
        self._file.write(values.numpy().data)
        self.lengths.append(rows.costs())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            np.concatenate(self.lengths).cumsum().tofile(self.folder / "offsets")
            facts = {"bf16": self.bf16, "shape": self.shape}
            (self.folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
