"""Tasks refuse what does not fit together, by name and number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.tasks import TASK_TYPES, Labels, PairLabels, Retrieval, Similarity, Task, kind_of_task
from tests.evaluation.models import labelled, pairs, retrieval, same_or_not


def small() -> dict[str, Task]:
    return {
        "retrieval": retrieval(["p", "q"], ["a", "b", "c"], {0: {2: 1}, 1: {1: 2}}),
        "similarity": pairs([1.0, 2, 3, 4]),
        "labels": labelled(["a", "b", "c"], [0, 1, 0], ["d", "e"], [0, 1]),
        "pair labels": same_or_not([("a", "b", True), ("a", "c", False)]),
    }


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("retrieval", {"relevance": {0: {3: 1}}}, "relevance of query 0 names document 3, there are 0 to 2"),
        ("retrieval", {"relevance": {0: {-1: 1}}}, "names document -1"),
        ("retrieval", {"relevance": {2: {0: 1}}}, "relevance names query 2, there are queries 0 to 1"),
        ("retrieval", {"excluded": {-1: [0]}}, "excluded names query -1"),
        ("retrieval", {"excluded": {0: [0, 9]}}, "excluded of query 0 names document 9"),
        ("retrieval", {"excluded": {0: [2]}}, "document 2 is relevant to query 0 and excluded"),
        ("retrieval", {"clusters": np.arange(3)}, "2 queries need 2 ids and clusters"),
        ("similarity", {"scores": np.arange(3.0)}, "first 4, second 4, scores 3, clusters 4"),
        ("similarity", {"scores": np.array([1, 2, np.nan, 4])}, "the grade of pair 2 is nan"),
        ("labels", {"labels": np.array([0, 2, 0])}, r"labels\[1\] is 2, there are classes 0 to 1"),
        ("labels", {"train_labels": np.array([0, -1])}, r"train_labels\[1\] is -1"),
        ("labels", {"train_labels": np.array([0.0, 1.0])}, "train_labels must be whole numbers"),
        ("labels", {"train": ListColumn("t", []), "train_labels": np.arange(0)}, "there are no training cells"),
        ("labels", {"labels": np.array([0])}, "cells 3, labels 1, clusters 3"),
        ("labels", {"unknown": 2}, "unknown is class 2, there are classes 0 to 1"),
        ("pair labels", {"same": np.array([1, 0])}, "same must be booleans"),
        ("pair labels", {"same": np.array([True, True])}, "all 2 pairs are the same"),
        ("pair labels", {"same": np.array([False, False])}, "all 2 pairs are different"),
        ("pair labels", {"second": ListColumn("x", ["a"])}, "first 2, second 1"),
    ],
)
def test_what_does_not_fit_is_an_error(kind: str, change: dict[str, Any], says: str) -> None:
    task = small()[kind]
    with pytest.raises(InputError, match=says) as error:
        replace(task, **change)
    assert str(error.value).startswith(f"{task.name}: ")


def test_a_class_without_training_cells_is_told_in_the_notes() -> None:
    notes = {"from": "hand"}
    task = labelled(["a"], [0], ["d"], [0], classes=["x", "y", "none"], unknown=2, notes=notes)
    assert task.notes == {"from": "hand", "classes without training cells": ["y"]}
    assert notes == {"from": "hand"}


@pytest.mark.parametrize("kind", list(small()))
def test_an_empty_task_is_an_error(kind: str) -> None:
    empty: dict[str, Callable[[], Any]] = {
        "retrieval": lambda: retrieval([], ["a"], {}),
        "similarity": lambda: replace(
            pairs([1.0] * 4),
            first=ListColumn("a", []),
            second=ListColumn("b", []),
            scores=np.zeros(0),
            clusters=np.arange(0),
        ),
        "labels": lambda: labelled([], [], ["d"], [0]),
        "pair labels": lambda: replace(
            same_or_not([("a", "b", True), ("a", "c", False)]),
            first=ListColumn("a", []),
            second=ListColumn("b", []),
            same=np.zeros(0, bool),
            clusters=np.arange(0),
        ),
    }
    with pytest.raises(InputError, match=r"is empty|no query has"):
        empty[kind]()


def test_every_type_of_task_is_listed_and_has_a_name() -> None:
    assert set(TASK_TYPES) == {Retrieval, Similarity, Labels, PairLabels}
    assert [kind_of_task(one) for one in TASK_TYPES] == list(small())
    assert {kind: kind_of_task(task) for kind, task in small().items()} == {kind: kind for kind in small()}
