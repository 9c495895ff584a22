"""Inputs of two sides in one batch: which rows are whose, and how each side reads its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.contracts import Encoder, Inputs, Store

ROLES = ("query", "key")


@dataclass(frozen=True)
class TwoSided:
    """n rows in order; `parts` holds each side's own, in that order, and `whose` (n,) each row's place in `ROLES`."""

    parts: dict[str, Inputs]
    whose: npt.NDArray[np.int8]

    @classmethod
    def of(cls, role: str, inputs: Inputs) -> Self:
        """Return rows that are all of one side."""
        return cls({role: inputs}, np.full(len(inputs), ROLES.index(role), np.int8))

    @property
    def padded(self) -> bool:
        """Whether any side pads its rows to each other."""
        return any(getattr(part, "padded", True) for part in self.parts.values())

    def __len__(self) -> int:
        return len(self.whose)

    def __getitem__(self, rows: slice) -> TwoSided:
        start, stop, step = rows.indices(len(self))
        assert step == 1, "rows of two sides are sliced without a step"
        parts = {}
        for role, part in self.parts.items():
            mine = self.whose == ROLES.index(role)
            first, size = int(mine[:start].sum()), int(mine[start:stop].sum())
            if size:
                parts[role] = part[first : first + size]
        return TwoSided(parts, self.whose[start:stop])

    def join(self, others: Sequence[TwoSided]) -> TwoSided:
        """Return self followed by the others."""
        every, parts = [self, *others], {}
        for role in ROLES:
            mine = [rows.parts[role] for rows in every if role in rows.parts]
            if mine:
                parts[role] = mine[0].join(mine[1:])
        return TwoSided(parts, np.concatenate([rows.whose for rows in every]))

    def costs(self) -> npt.NDArray[np.int64]:
        """Return what each row costs its own side, (n,)."""
        costs = np.zeros(len(self), np.int64)
        for role, part in self.parts.items():
            costs[self.whose == ROLES.index(role)] = part.costs()
        return costs

    def to(self, device: Any) -> TwoSided:
        """Return the same on another device."""
        return TwoSided({role: part.to(device) for role, part in self.parts.items()}, self.whose)

    def back(self) -> Ids:
        """Return where each row lies (n,) once the sides' rows are stacked in the order of `ROLES`."""
        return np.argsort(np.argsort(self.whose, kind="stable"))


@dataclass(frozen=True)
class OneSide:
    """One side of an encoder that has two: cells to rows that know their side."""

    role: str
    tower: Encoder

    @property
    def takes(self) -> type:
        """The type of the tower's cells."""
        kind: type = getattr(self.tower, "takes", object)
        return kind

    def inputs(self, cells: Sequence[Any]) -> TwoSided:
        """Return raw cells as inputs."""
        return TwoSided.of(self.role, self.tower.inputs(cells))

    def store(self, column: Column) -> OneSideStore:
        """Return the inputs of a whole column."""
        return OneSideStore(self.role, self.tower.store(column))


@dataclass(frozen=True)
class OneSideStore:
    """A column's inputs that know their side."""

    role: str
    store: Store

    def __getitem__(self, rows: Ids) -> TwoSided:
        return TwoSided.of(self.role, self.store[rows])
