"""The classes of documents, from a column of labels, as a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids, take
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest
from nearfar.positives.relations.documents import Documents, SelectedCells
from nearfar.tasks import Labels

LABEL_NAMES = ("label", "class")


def label_column(data: Data, name: str | None) -> str | None:
    """Return the column of labels: the one given, or the one of a recognised name; None without any.

    Errors: `InputError` for a column that does not exist.
    """
    if name is not None and name not in data.columns:
        raise InputError(f"positives.label: no column {name!r}; {nearest(name, data.columns)}")
    return name or next((known for known in LABEL_NAMES if known in data.columns), None)


@dataclass(frozen=True)
class LabelledCells:
    """Documents with a label: their cells (n,), names of their classes (n,), their document ids (n,).

    missing: how many documents had no label, and are left out.
    """

    cells: Column
    names: list[str]
    document_ids: npt.NDArray[np.int64]
    missing: int

    @classmethod
    def of(cls, documents: Documents, labels: Column) -> LabelledCells:
        """Return the documents whose row has a label."""
        of_row = [class_name(label) for label in take(labels, np.arange(len(labels)))]
        names = [of_row[row] for row in documents.row.tolist()]
        kept = np.array([i for i, name in enumerate(names) if name is not None], np.int64)
        cells = (
            SelectedCells(documents.cells.name, documents.cells, kept) if len(kept) < len(names) else documents.cells
        )
        found = [name for name in names if name is not None]
        return cls(cells, found, documents.document_ids[kept], len(names) - len(kept))


def labels_task(name: str, train: LabelledCells, cells: LabelledCells, column: str, notes: dict[str, Any]) -> Labels:
    """Return the task of telling the classes of a split's cells from those of the training rows.

    The classes are sorted: numbers by value, before other names. Rows without a label are counted in the notes.

    Errors: `InputError` where no row of the split, or of training, has a label.
    """
    for what, found in (("the training rows", train), (f"split {name!r}", cells)):
        if not found.names:
            raise InputError(f"positives.label: no row of {what} has a label in column {column!r}; name another column")
    classes = sorted({*train.names, *cells.names}, key=_order)
    place = {each: i for i, each in enumerate(classes)}
    clusters = np.unique(cells.document_ids, return_inverse=True)[1]
    sizes = {"cells": len(cells.names), "train": len(train.names), "classes": len(classes)}
    return Labels(
        name,
        cells.cells,
        _places(cells.names, place),
        train.cells,
        _places(train.names, place),
        classes,
        clusters,
        notes={**sizes, "without a label": cells.missing, "train without a label": train.missing, "split": notes},
    )


def class_name(label: Any) -> str | None:
    """Return the name of a label's class; None where the label is missing: None, blank, or not a number."""
    if label is None or (isinstance(label, float | np.floating) and not np.isfinite(label)):
        return None
    if isinstance(label, float | np.floating) and float(label).is_integer():
        label = int(label)  # a column of whole numbers with gaps is read as floats
    return str(label).strip() or None


def class_numbers(labels: Column) -> Ids:
    """Return the class of each row of a column of labels as a number, (n,); -1 where the label is missing."""
    names = [class_name(label) for label in take(labels, np.arange(len(labels)))]
    known = {name: number for number, name in enumerate(sorted({name for name in names if name is not None}))}
    return np.array([-1 if name is None else known[name] for name in names], np.int64)


def _order(name: str) -> tuple[bool, float, str]:
    """Return what classes are sorted by: numbers first, by size, then names."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (False, number, name) if math.isfinite(number) else (True, 0.0, name)


def _places(names: Sequence[str], place: dict[str, int]) -> npt.NDArray[np.int64]:
    return np.array([place[name] for name in names], np.int64)
