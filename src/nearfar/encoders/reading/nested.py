"""Encoders that hold other encoders: the inputs of two towers in one batch, and how inner ones are saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from nearfar import registry
from nearfar.abilities import (
    KnowsLanguages,
    ReadsPictures,
    Tokenises,
    inputs_at,
    is_padded,
    reads,
    store_at,
)
from nearfar.column import Column, Ids
from nearfar.contracts import Encoder, Inputs, Store
from nearfar.errors import InputError
from nearfar.sides import ROLES
from nearfar.storage.foreign import modules_of


@dataclass(frozen=True)
class TwoSidedInputs:
    """n rows of two sides, mixed: `parts` has each side's rows in order, `side_index` (n,) an index into `ROLES`."""

    parts: dict[str, Inputs]
    side_index: npt.NDArray[np.int8]

    @classmethod
    def of(cls, role: str, inputs: Inputs) -> Self:
        """Return rows that are all of one side."""
        return cls({role: inputs}, np.full(len(inputs), ROLES.index(role), np.int8))

    @property
    def padded(self) -> bool:
        """Whether the encoder of any side pads its rows to the longest."""
        return any(map(is_padded, self.parts.values()))

    def __len__(self) -> int:
        return len(self.side_index)

    def __getitem__(self, rows: slice) -> TwoSidedInputs:
        start, stop, step = rows.indices(len(self))
        assert step == 1, "rows of two sides are sliced without a step"
        parts = {}
        for role, part in self.parts.items():
            in_part = self.side_index == ROLES.index(role)
            first, size = int(in_part[:start].sum()), int(in_part[start:stop].sum())
            if size:
                parts[role] = part[first : first + size]
        return TwoSidedInputs(parts, self.side_index[start:stop])

    def join(self, others: Sequence[TwoSidedInputs]) -> TwoSidedInputs:
        """Return self followed by the others."""
        every = [self, *others]
        parts: dict[str, Inputs] = {}
        for role in ROLES:
            of_role = [inputs.parts[role] for inputs in every if role in inputs.parts]
            if of_role:
                parts[role] = of_role[0].join(of_role[1:])
        return TwoSidedInputs(parts, np.concatenate([inputs.side_index for inputs in every]))

    def costs(self) -> npt.NDArray[np.int64]:
        """Return what each row costs the encoder of its side, (n,)."""
        costs = np.zeros(len(self), np.int64)
        for role, part in self.parts.items():
            costs[self.side_index == ROLES.index(role)] = part.costs()
        return costs

    def to(self, device: Any) -> TwoSidedInputs:
        """Return the same on another device."""
        return TwoSidedInputs({role: part.to(device) for role, part in self.parts.items()}, self.side_index)

    def stacked_index(self) -> Ids:
        """Return the index of each row (n,) among the rows of all sides, stacked in the order of `ROLES`."""
        return np.argsort(np.argsort(self.side_index, kind="stable"))


TELLING: dict[type, tuple[str, ...]] = {
    ReadsPictures: ("picture_size",),
    Tokenises: ("tokenise",),
    KnowsLanguages: ("made_for", "unread_and_fertility"),
}


@dataclass(frozen=True)
class TowerSide:
    """One side of an encoder with two towers: its columns and cells, for its tower alone."""

    role: str
    tower: Encoder

    def __post_init__(self) -> None:
        """Take on what else the tower can tell of cells, and nothing that it cannot."""
        for ability, names in TELLING.items():
            for name in names if isinstance(self.tower, ability) else ():
                object.__setattr__(self, name, getattr(self.tower, name))

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of cells that the tower reads."""
        return reads(self.tower)

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the tower learn what it needs from the columns of this side."""
        self.tower.prepare(columns)

    def inputs(self, cells: Sequence[Any]) -> TwoSidedInputs:
        """Return raw cells as inputs."""
        return TwoSidedInputs.of(self.role, self.tower.inputs(cells))

    def inputs_at(self, cells: Sequence[Any], share: float) -> TwoSidedInputs:
        """Return raw cells as inputs after a share of the steps."""
        return TwoSidedInputs.of(self.role, inputs_at(self.tower, cells, share))

    def store(self, column: Column) -> TowerStore:
        """Return the inputs of a whole column."""
        return TowerStore(self.role, self.tower.store(column))


@dataclass(frozen=True)
class TowerStore:
    """The inputs of a whole column, all of one side."""

    role: str
    store: Store

    def __getitem__(self, rows: Ids) -> TwoSidedInputs:
        return TwoSidedInputs.of(self.role, self.store[rows])

    def at(self, share: float) -> TowerStore:
        """Return the store to read after this share of the steps."""
        inner = store_at(self.store, share)
        return self if inner is self.store else TowerStore(self.role, inner)


def inner_spec(encoder: Encoder) -> dict[str, Any]:
    """Return what `load_inner` needs beside the files: the encoder as a recipe names it."""
    return {"name": registry.name_of(type(encoder)), **encoder.settings()}


def inner_identity(name: str, encoder: Encoder) -> Iterator[tuple[str, Any]]:
    """Yield the identity of the inner encoder, each entry under `name`."""
    yield name, registry.name_of(type(encoder))
    for key, value in encoder.identity():
        yield f"{name}.{key}", value


def save_inner(folder: Path, name: str, encoder: Encoder) -> list[dict[str, str]]:
    """Write the encoder into the subfolder `name`; return its rows of modules.json, with paths from `folder`.

    [] where sentence-transformers has no form for it.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    return [
        {**row, "path": f"{name}/{row.get('path', '')}".rstrip("/")} for row in modules_of(encoder.save(folder / name))
    ]


def load_inner(folder: Path, name: str, spec: Any, *, shared: bool = False) -> Any:
    """Read what `save_inner` wrote. Errors: those of the encoder; `InputError` without its settings or its folder.

    shared: the encoder has no folder of its own, but its part of the files in `folder`.
    """
    subfolder = folder if shared else folder / name
    if not isinstance(spec, Mapping) or not subfolder.is_dir():
        why = "no such folder" if isinstance(spec, Mapping) else "nearfar.json does not say which encoder this is"
        raise InputError(f"{subfolder}: {why}; each encoder has a folder of its own: copy the model again")
    part, given = registry.checked("encoders", spec, section=f"{folder / 'nearfar.json'}: encoder.{name}")
    return cast("Any", part).load(subfolder, given)
