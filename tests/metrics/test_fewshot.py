"""Few-shot classification beside a naive form of it, and what it cannot be fooled by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nearfar.column import ListColumn
from nearfar.contracts import Predictions
from nearfar.errors import InputError
from nearfar.metrics.answers.scores import balanced_accuracy
from nearfar.metrics.fewshot import Fewshot, _distinct, _is_nearest
from nearfar.tasks import Labels

Floats = npt.NDArray[np.float64]


def task(labels: list[int], train_labels: list[int], classes: int) -> Labels:
    cells, train = (ListColumn("text", [str(i) for i in range(len(x))]) for x in (labels, train_labels))
    names = [f"class {i}" for i in range(classes)]
    return Labels("sample", cells, np.array(labels), train, np.array(train_labels), names, np.arange(len(labels)))


def share(metric: Fewshot, judged: Labels, cells: Any, train: Any) -> Floats:
    vectors = {"cells": np.asarray(cells, np.float32), "train": np.asarray(train, np.float32)}
    (found,) = metric(judged, Predictions(vectors)).values()
    assert isinstance(found, np.ndarray)
    return found


def test_classes_that_lie_apart_are_right_and_equal_vectors_are_at_nothing() -> None:
    judged = task([0, 1, 2] * 5, [0, 1, 2] * 4, 3)
    apart = np.eye(3)
    assert share(Fewshot(ways=3), judged, apart[judged.labels], apart[judged.train_labels]) == pytest.approx(1.0)
    assert share(Fewshot(ways=3), judged, np.ones((15, 3)), np.ones((12, 3))).tolist() == [0.0] * 15  # ties


def test_random_vectors_are_at_chance() -> None:
    random = np.random.default_rng(0)
    judged = task(list(random.integers(0, 10, 2000)), list(random.integers(0, 10, 500)), 10)
    found = share(Fewshot(ways=5), judged, random.normal(size=(2000, 16)), random.normal(size=(500, 16)))
    assert found.mean() == pytest.approx(0.2, abs=0.02)


def test_one_cell_is_judged_as_a_loop_would() -> None:
    random = np.random.default_rng(1)
    cells, shots = random.normal(size=(30, 4)), random.normal(size=(30, 3, 2, 4))
    for cell, of_cell, right in zip(cells, shots, _is_nearest(cells, shots), strict=True):
        means = [np.mean([shot / np.linalg.norm(shot) for shot in of_class], axis=0) for of_class in of_cell]
        cosines = [cell @ mean / np.linalg.norm(cell) / np.linalg.norm(mean) for mean in means]
        assert right == (int(np.argmax(cosines)) == 0)


def test_draws_are_distinct_and_all_sets_are_as_likely() -> None:
    drawn = _distinct(np.random.default_rng(0), np.full(60_000, 4), 2)
    counts = np.unique(np.sort(drawn, axis=1) @ [10, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert np.abs(counts / 60_000 - 1 / 6).max() < 0.01
    assert np.sort(_distinct(np.random.default_rng(0), np.full(9, 3), 3), axis=1).tolist() == [[0, 1, 2]] * 9


def test_each_episode_has_the_own_class_once_and_shots_of_its_classes() -> None:
    metric, members = Fewshot(ways=3, shots=2), [np.arange(i * 5, i * 5 + 5) for i in range(6)]
    labels = np.array([0, 3, 5, 3])
    shots = metric._shots(np.random.default_rng(0), labels, np.array([0, 2, 3, 5]), members)
    classes = shots // 5
    assert (classes[:, 0] == labels[:, None]).all()
    assert (classes == classes[:, :, :1]).all()
    assert all(len(set(of_cell)) == 3 and set(of_cell) <= {0, 2, 3, 5} for of_cell in classes[:, :, 0].tolist())


def test_cells_of_classes_without_enough_shots_are_no_values() -> None:
    judged = task([0, 1, 2], [0, 0, 1, 1, 2], 3)
    found = share(Fewshot(ways=2, shots=2), judged, np.eye(3), np.eye(3)[judged.train_labels])
    assert np.isnan(found).tolist() == [False, False, True]
    with pytest.raises(InputError, match="needs two classes with 3 training cells each, 0 have them"):
        share(Fewshot(shots=3), judged, np.eye(3), np.eye(3)[judged.train_labels])


def test_balanced_accuracy_is_scikit_learns() -> None:
    peer = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    labels, answers = random.integers(0, 4, 200), random.integers(0, 4, 200)
    weight = random.integers(0, 3, (2, 200)).astype(np.float64)
    found = balanced_accuracy(labels, answers, 4, weight)
    for row, value in zip(weight, found, strict=True):
        assert value == pytest.approx(peer.balanced_accuracy_score(labels, answers, sample_weight=row))
