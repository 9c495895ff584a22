"""Labelling cells with classes that are known by their names alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.abilities import TwoSided, reads, side
from nearfar.column import Column, Ids, column_kind
from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.evaluation.predictions import role_of, text_side_of
from nearfar.metrics.answers.class_vectors import class_vectors
from nearfar.model import Model
from nearfar.sides import ROLES, kinds_read
from nearfar.storage.folders import write_file_atomically
from nearfar.text.class_prompts import checked_classes, checked_templates
from nearfar.vectors.embed import embed_column
from nearfar.vectors.topk import topk

SUFFIXES = (".csv", ".jsonl")
_DIGITS = 6  # of cosines in a file: more is not in float32


@dataclass(frozen=True)
class ZeroShotLabels:
    """The class of each of n cells, told by the names of c classes alone.

    classes: their labels (c). answers (n,): positions in `classes`. cosines (n,): of each cell and its class. margins
    (n,): the cosine less that of the second class, 0 where two are as near; of these the first one named is the answer.
    templates: of the prompts. sides: what read the cells and what read the classes.
    """

    classes: list[str]
    answers: Ids
    cosines: Values
    margins: Values
    templates: list[str]
    sides: dict[str, str]

    def counts(self) -> dict[str, int]:
        """Return how many cells each class has, the most frequent first; of equally frequent ones in their order."""
        count = np.bincount(self.answers, minlength=len(self.classes))
        return {self.classes[c]: int(count[c]) for c in np.argsort(-count, kind="stable")}

    def row(self, i: int, name: str) -> dict[str, Any]:
        """Return what is written of one cell, under a name."""
        numbers = {"cosine": self.cosines[i], "margin": self.margins[i]}
        rounded = {key: round(float(value), _DIGITS) for key, value in numbers.items()}
        return {"id": name, "label": self.classes[self.answers[i]], **rounded}


def zero_shot(
    model: Model, cells: Column, classes: Sequence[str], templates: Sequence[str] | None = None
) -> ZeroShotLabels:
    """Return for each cell the class whose name, in words, lies nearest to it.

    As `metrics.zero_shot`: the mean of the prompts' unit vectors stands for a class (Radford et al. 2021,
    arXiv:2103.00020, section 3.1.4), and the highest cosine decides.

    Args:
        model: one side reads the cells, and one reads texts; both may be the same.
        cells: pictures, or whatever a side of the model reads.
        classes: labels, at least two, as "golden_retriever"; underscores and hyphens are read as spaces.
        templates: prompts with one {} for the name; by default the usual ones for the kind of the cells.

    Errors: `InputError`: classes or templates that cannot be used; a model that reads no text, or not these cells; no
    cells; an empty cell.

    When not to use it: where cells may be of none of the classes: each gets one. Look at the cosines first.
    """
    names, kind = checked_classes(classes), column_kind(cells)
    prompts = checked_templates(templates, kind)
    readers = {role: side(model.encoder, role) for role in ROLES}
    kinds = " and ".join(dict.fromkeys(kinds_read(one) for one in readers.values()))
    name, text_side = str(model.folder or "this model"), text_side_of(model)
    if text_side is None:
        raise InputError(
            f"{name} reads {kinds}, no text, so the names of classes say nothing to it; give a model with a side "
            "that reads text (encoder dual)"
        )
    if not len(cells):
        raise InputError(f"column {cells.name!r} has no rows; there is nothing to label")
    if not any(not (known := reads(one)) or kind in known for one in readers.values()):
        raise InputError(f"{name} reads {kinds}, and column {cells.name!r} is {kind}; give it what it reads")
    role = role_of(model, "cells", cells)
    vectors = embed_column(model, cells, role, empty=False)
    found = topk(vectors, class_vectors(text_side.embed, names, prompts), 2)
    best, second = found.scores.astype(np.float64).T
    own = f"the {role or 'key'} side" if isinstance(model.encoder, TwoSided) else "the model"
    return ZeroShotLabels(
        list(classes), found.rows[:, 0], best, best - second, prompts, {"cells": own, "classes": text_side.name}
    )


def write_labels(path: Path, ids: Sequence[str], labels: ZeroShotLabels) -> None:
    """Write a row for each cell, in their order: id, label, cosine, margin; as CSV or JSON Lines, by the file's name.

    Errors: `InputError` for a name of another kind, and for a place that cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: unknown kind of file; write to a name that ends in {' or '.join(SUFFIXES)}")
    rows = (labels.row(i, name) for i, name in enumerate(ids))
    with (
        write_file_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(file, ["id", "label", "cosine", "margin"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
