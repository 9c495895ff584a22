"""Inputs of two sides in one batch: which rows are whose, and how each side reads its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar import registry
from nearfar.column import Column, Ids
from nearfar.contracts import Encoder, Inputs, Store
from nearfar.errors import InputError

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


def inner_spec(encoder: Encoder) -> dict[str, Any]:
    """Return what `load_from` needs beside the files: the encoder as a recipe names it."""
    return {"name": registry.name_of(type(encoder)), **encoder.settings()}


def identity_of(name: str, encoder: Encoder) -> Iterator[tuple[str, Any]]:
    """Yield what makes the inner space what it is, under its name."""
    yield name, registry.name_of(type(encoder))
    for key, value in encoder.identity():
        yield f"{name}.{key}", value


def save_into(folder: Path, name: str, encoder: Encoder) -> list[dict[str, Any]]:
    """Write the encoder into a folder of its own; return its rows of modules.json, with paths from the outer one."""
    rows = encoder.save(folder / name)
    return [{**row, "path": f"{name}/{row.get('path', '')}".rstrip("/")} for row in rows]


def load_from(folder: Path, name: str, spec: Any) -> Any:
    """Read what `save_into` wrote. Errors: those of the encoder; `InputError` without its settings or its folder."""
    place = folder / name
    if not isinstance(spec, Mapping) or not place.is_dir():
        what = "no such folder" if isinstance(spec, Mapping) else "nearfar.json does not say what lies there"
        raise InputError(f"{place}: {what}; each encoder has a folder of its own: copy the model again")
    part, given = registry.checked("encoders", spec, section=f"{folder / 'nearfar.json'}: encoder.{name}")
    return cast("Any", part).load(place, given)


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
