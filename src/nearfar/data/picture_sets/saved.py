"""Pictures of a data set that the `datasets` library saved to disk: a column of type Image, and one of classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data.archives.members import Member, Wanted
from nearfar.data.picture_sets.layout import Place
from nearfar.data.tables.read import from_saved
from nearfar.data.tables.row_locator import LocatedTable
from nearfar.errors import InputError, nearest

_MARKS = ("dataset_info.json", "dataset_dict.json")
_LABELS = ("label", "labels", "class", "fine_label")


def is_saved(path: Path) -> bool:
    """Return whether a folder is a data set that `save_to_disk` wrote."""
    return any((path / mark).is_file() for mark in _MARKS)


def holds_pictures(path: Path) -> bool:
    """Return whether a saved data set says that it has a column of pictures."""
    infos = [path / "dataset_info.json", *sorted(path.glob("*/dataset_info.json"))]
    return any(_image_columns(_features(info.read_bytes())) for info in infos if info.is_file())


class SavedSet:
    """A saved data set as an `Archive` whose members are rows, named by split and number: "train/17"."""

    any_order = True

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self._wanted = path, wanted
        self._tables = {split: _Rows(table) for split, table in from_saved(path).items()}

    def files(self) -> list[Path]:
        """Return the files of the data set."""
        return sorted(file for file in self.path.rglob("*") if file.is_file())

    def names(self) -> list[str]:
        """Return the names of all rows."""
        return [f"{split}/{row}" for split, rows in self._tables.items() for row in range(rows.table.num_rows)]

    def members(self) -> Iterator[Member]:
        """Yield the rows, split after split."""
        for split, rows in self._tables.items():
            row = 0
            for batch in rows.table.select([rows.image]).to_batches(max_chunksize=256):
                for cell in batch.column(0).to_pylist():
                    yield self._member(f"{split}/{row}", cell)
                    row += 1

    def read(self, name: str) -> bytes:
        """Return the bytes of one row's picture."""
        split, _, row = name.rpartition("/")
        rows = self._tables[split]
        member = self._member(name, rows.table.column(rows.image)[int(row)].as_py())
        if member.problem:
            raise InputError(f"{self.path}: row {name} {member.problem}")
        return member.data

    def places(self, label: str | None) -> dict[str, Place]:
        """Return the place of each row by its name. label: "auto", a column of classes, or None for no classes."""
        found = {}
        for split, rows in self._tables.items():
            for row, name in enumerate(rows.labels(label)):
                found[f"{split}/{row}"] = Place(split, name, f"{split}/{row}")
        return found

    def _member(self, name: str, cell: dict[str, Any] | None) -> Member:
        if cell is None:
            return Member(name, problem="is missing")
        data = cell.get("bytes")
        if data is None:
            return Member(
                name, problem=f"is a path ({cell.get('path')}) and no picture; save the set with its pictures"
            )
        problem = self._wanted.problem(len(data))
        return Member(name, b"" if problem else data, problem)


class _Rows:
    """The rows of one split: the names of the column of pictures and of that of classes, by the features."""

    def __init__(self, located: LocatedTable) -> None:
        self.table, self.where = located.table, located.where
        metadata = self.table.schema.metadata or {}
        self._known = _features(metadata.get(b"huggingface", b"{}"))
        images = _image_columns(self._known)
        if len(images) != 1:
            found = f"{len(images)} columns of pictures ({', '.join(images)})" if images else "no column of pictures"
            raise InputError(f"{self.where}: has {found}, and one is needed; keep one of type datasets.Image")
        self.image = images[0]

    @cached_property
    def _label(self) -> str | None:
        classes = [name for name, about in self._known.items() if about.get("_type") == "ClassLabel"]
        return next(iter(classes), next((name for name in _LABELS if name in self.table.column_names), None))

    def labels(self, label: str | None) -> list[str | None]:
        """Return the class of each row, by name where the data set has names."""
        name = self._label if label == "auto" else label
        if name is None:
            return [None] * self.table.num_rows
        if name not in self.table.column_names:
            raise InputError(f"{self.where}: no column {name!r} of classes; {nearest(name, self.table.column_names)}")
        column: pa.ChunkedArray[Any] = self.table.column(name)
        names = self._known.get(name, {}).get("names")
        return [_class(value, names) for value in column.to_pylist()]


def _class(value: Any, names: list[str] | None) -> str | None:
    """Return a class by its name; -1 is what `datasets` writes where there is none."""
    if value is None or (names is not None and not 0 <= value < len(names)):
        return None
    return str(value) if names is None else names[value]


def _features(text: bytes) -> dict[str, dict[str, Any]]:
    """Return the features by name that a JSON text of the `datasets` library tells of."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    found = found.get("info", found) if isinstance(found, dict) else {}
    features = found.get("features") if isinstance(found, dict) else None
    return {name: about for name, about in (features or {}).items() if isinstance(about, dict)}


def _image_columns(features: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name, about in features.items() if about.get("_type") == "Image"]
