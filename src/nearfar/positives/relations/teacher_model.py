"""A model as the teacher of a view: which of its sides reads the cells, and their vectors, augmented or as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nearfar import registry
from nearfar.abilities import InBf16, for_reader, reads, side
from nearfar.column import Column, Ids, column_kind, take
from nearfar.contracts import Encoder, Role, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.positives.relations.augmented import augmented_cells
from nearfar.positives.relations.unit_vectors import Floats, UnitVectors, embedding
from nearfar.sides import kinds_read, role_reading


@runtime_checkable
class TeacherModel(Protocol):
    """A model whose encoder and fingerprint are known, such as `nf.Model`."""

    encoder: Encoder
    fingerprint: str

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        ...

    def embed(self, cells: Any, /, role: Role | None = None) -> Floats:
        """Return the unit vectors of the cells (n, dim)."""
        ...


LoadModel = Callable[[str], TeacherModel]


def loaded(teacher: str | Path | TeacherModel, load_model: LoadModel | None) -> TeacherModel:
    """Return a teacher that is given as a model, or as the folder of one. Errors: those of loading it."""
    if isinstance(teacher, TeacherModel):
        return teacher
    if not isinstance(teacher, str | Path):
        raise InputError("positives.teacher: the folder of a model, or a model with a fingerprint, such as nf.Model")
    if load_model is None:
        raise InputError("positives (teacher_vectors): give the model itself, teacher=nf.Model.load(folder)")
    return load_model(str(teacher))


@dataclass(frozen=True)
class TaughtView:
    """A column, the role in which the teacher reads it, and its augmentation in fixed views, if it has one."""

    name: str
    column: Column
    teacher: TeacherModel
    role: Role | None
    streamed: StreamedAugmentation | None = None

    @classmethod
    def of(
        cls, name: str, column: Column, teacher: TeacherModel, usual: Role | None, streamed: StreamedAugmentation | None
    ) -> TaughtView:
        """Return a view of the usual role, or of the other one, where only that side of the teacher reads its kind.

        Errors: `InputError` where neither does.
        """
        kind = column_kind(column)
        role = role_reading(teacher.encoder, kind, usual)
        reader = side(teacher.encoder, role)
        if kind is not None and reads(reader) and kind not in reads(reader):
            raise InputError(
                f"positives.teacher: the column {column.name!r} is {kind}, and the teacher reads {kinds_read(reader)}; "
                "give a teacher of both columns"
            )
        return cls(name, column, teacher, role, streamed)

    @property
    def numbers(self) -> range:
        """The numbers of the views of each content."""
        return range(1 if self.streamed is None or self.streamed.fixed is None else self.streamed.fixed.count)

    def embed(self, number: int, rows: Ids) -> Floats:
        """Return the teacher's vectors (r, d) of some rows of the column, in the view of a number."""
        cells: Any = take(self.column, rows)
        if self.streamed is not None:
            reader = side(self.teacher.encoder, self.role)
            seeds = self.streamed.seeds(0, np.full(len(rows), number), rows, rows)
            cells = augmented_cells(for_reader(self.streamed, reader), cells, seeds, self.name, rows)
        return np.asarray(self.teacher.embed(cells, role=self.role), np.float32)

    def vectors(self, number: int, rows: Ids | None = None) -> UnitVectors:
        """Return the vectors of the column in the view of a number, each content encoded once, from the cache on disk.

        rows: encode these alone, and leave the cache as it is.
        """
        embed = partial(self.embed, number)
        with embedding(self.teacher.encoder):
            if rows is not None:
                return UnitVectors.of_rows(self.column, rows, embed)
            return UnitVectors.cached(self.column, self.teacher.dim, embed, "teacher", *self._identity(number))

    def _identity(self, number: int) -> list[Any]:
        bf16 = isinstance(self.teacher, InBf16) and self.teacher.bf16
        found: list[Any] = [self.teacher.fingerprint, self.role, bf16]
        if self.streamed is not None and self.streamed.fixed is not None:
            found += [number, self.streamed.fixed.seed, str(registry.settings_of(self.streamed.augmentation))]
        return found
