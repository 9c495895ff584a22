"""kNN and the linear probe against naive float64 references, and scikit-learn where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import ListColumn
from nearfar.contracts import Measurement, Predictions, Statistic
from nearfar.errors import InputError
from nearfar.metrics.alignment import Alignment
from nearfar.metrics.answers.scores import auroc, macro_f1
from nearfar.metrics.knn import Knn
from nearfar.metrics.probe import Probe
from nearfar.metrics.uniformity import Uniformity
from nearfar.tasks import Labels

Array = np.ndarray[Any, Any]


def task_of(labels: Array, train_labels: Array, c: int, unknown: int | None = None) -> Labels:
    columns = [ListColumn("cell", ["t"] * len(each)) for each in (labels, train_labels)]
    names = [f"class {i}" for i in range(c)]
    return Labels("t", columns[0], labels, columns[1], train_labels, names, np.arange(len(labels)), unknown)


def unit(vectors: Array) -> Array:
    found: Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def plain(value: Measurement) -> float:
    return float(value.value if isinstance(value, Statistic) else np.mean(value))


def naive_f1(labels: Array, answers: Array) -> float:
    found = []
    for each in set(labels.tolist()) | set(answers.tolist()):
        hit = sum(a == b == each for a, b in zip(labels, answers))
        found.append(2 * hit / (sum(labels == each) + sum(answers == each)))
    return float(np.mean(found))


def naive_knn(x: Array, y: Array, cells: Array, labels: Array, k: int, temperature: float) -> Array:
    answers = []
    for cell, label in zip(cells.astype(np.float64), labels):
        cosines = x.astype(np.float64) @ cell
        votes: dict[int, float] = {}
        for row in sorted(range(len(x)), key=lambda row: (-cosines[row], row))[:k]:
            votes[int(y[row])] = votes.get(int(y[row]), 0) + float(np.exp(cosines[row] / temperature))
        answers.append(max(votes, key=lambda each: (votes[each], each != label)))
    return np.array(answers)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9999), st.integers(1, 30), st.integers(2, 5), st.sampled_from([0.07, 0.5]))
def test_knn_equals_the_reference(seed: int, k: int, c: int, temperature: float) -> None:
    random = np.random.default_rng(seed)
    x, cells = unit(random.standard_normal((25, 4))), unit(random.standard_normal((15, 4)))
    task = task_of(random.integers(0, c, 15), random.integers(0, c, 25), c)
    found = Knn(k, temperature)(task, Predictions({"cells": cells, "train": x}))
    expected = naive_knn(x, task.train_labels, cells, task.labels, k, temperature)
    assert list(found) == [f"knn@{k}", f"knn_balanced@{k}", f"knn_macro_f1@{k}"]
    np.testing.assert_array_equal(found[f"knn@{k}"], expected == task.labels)
    assert plain(found[f"knn_macro_f1@{k}"]) == pytest.approx(naive_f1(task.labels, expected))


def test_a_tie_of_votes_goes_against_the_model() -> None:
    """Two training cells of two classes at the same place: whatever the class, the other one is the answer."""
    x, cells = unit(np.array([[1.0, 0], [1, 0]])), unit(np.array([[1.0, 0], [1, 0]]))
    task = task_of(np.array([0, 1]), np.array([0, 1]), 2)
    found = Knn(k=2)(task, Predictions({"cells": cells, "train": x}))
    assert plain(found["knn@2"]) == 0


def test_the_nearest_decides_at_a_small_temperature() -> None:
    x = unit(np.array([[1, 0.0], [1, 0.5], [1, 0.6]]))
    task = task_of(np.array([0]), np.array([0, 1, 1]), 2)
    judged = Predictions({"cells": unit(np.array([[1, 0.0]])), "train": x})
    assert plain(Knn(3, temperature=0.01)(task, judged)["knn@3"]) == 1
    assert plain(Knn(3, temperature=100.0)(task, judged)["knn@3"]) == 0
    assert plain(Knn(3, temperature=1e-9)(task, judged)["knn@3"]) == 1  # no overflow


def test_many_classes_are_counted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.metrics import knn

    random = np.random.default_rng(0)
    x, cells = unit(random.standard_normal((40, 3))), unit(random.standard_normal((30, 3)))
    task = task_of(random.integers(0, 3, 30), random.integers(0, 3, 40), 3)
    whole = Knn(5)(task, Predictions({"cells": cells, "train": x}))["knn@5"]
    monkeypatch.setattr(knn, "_BLOCK", 7)
    np.testing.assert_array_equal(Knn(5)(task, Predictions({"cells": cells, "train": x}))["knn@5"], whole)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9999), st.integers(2, 6))
def test_macro_f1_under_weights_is_that_of_copies(seed: int, c: int) -> None:
    random = np.random.default_rng(seed)
    labels, answers, copies = random.integers(0, c, 20), random.integers(0, c, 20), random.integers(0, 3, 20)
    copies[0] = 1
    found = macro_f1(labels, answers, c, copies[None].astype(np.float64))[0]
    assert found == pytest.approx(naive_f1(np.repeat(labels, copies), np.repeat(answers, copies)))


def test_macro_f1_is_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    labels, answers = random.integers(0, 4, 50), random.integers(0, 5, 50)
    found = macro_f1(labels, answers, 6, np.ones((1, 50)))[0]
    assert found == pytest.approx(sklearn.f1_score(labels, answers, average="macro"))


def blobs(seed: int, n: int = 200, d: int = 6, c: int = 3) -> tuple[Array, Array, Array, Array]:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((c, d))
    y, labels = random.integers(0, c, n), random.integers(0, c, n // 2)
    x, cells = (unit(centres[each] + random.standard_normal((len(each), d))) for each in (y, labels))
    return x, y, cells, labels


@pytest.mark.parametrize("strength", [0.01, 0.3])
def test_the_probe_is_scikit_learns_logistic_regression(strength: float) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    x, y, cells, labels = blobs(1)
    found = Probe(strength)(task_of(labels, y, 3), Predictions({"cells": cells, "train": x}))
    mean, spread = x.mean(0), x.std(0)
    model = linear.LogisticRegression(C=1 / (strength * len(x)), tol=1e-8, max_iter=2000)
    expected = model.fit((x - mean) / spread, y).predict((cells - mean) / spread)
    np.testing.assert_array_equal(found["probe"], expected == labels)
    assert plain(found["probe_macro_f1"]) == pytest.approx(naive_f1(labels, expected))


def test_the_probe_finds_the_minimum_of_its_loss() -> None:
    """At the minimum, the gradient of the naive loss in float64 is zero."""
    import torch

    from nearfar.metrics.answers.logistic import fit_logistic

    x, y, _, _ = blobs(2)
    weights = fit_logistic(torch.from_numpy(x), torch.from_numpy(y), 3, 0.05, 500).double().numpy()
    scores = x.astype(np.float64) @ weights[:-1] + weights[-1]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slope = p - np.eye(3)[y]
    gradient = x.T @ slope / len(x) + 0.05 * weights[:-1]
    assert abs(gradient).max() < 1e-4
    assert abs(slope.mean(0)).max() < 1e-4


def test_the_probes_strength_is_never_chosen_on_the_judged_cells() -> None:
    x, y, cells, labels = blobs(3)
    judged = Predictions({"cells": cells, "train": x})
    found = Probe(seed=4)(task_of(labels, y, 3), judged)["probe"]
    flipped = Probe(seed=4)(task_of((labels + 1) % 3, y, 3), judged)["probe"]
    assert not np.logical_and(
        np.asarray(found), np.asarray(flipped)
    ).any()  # the answers are the same whatever the labels
    answers = np.where(np.asarray(found) == 1, labels, -1)
    assert (answers >= 0).mean() > 0.5


def test_the_probe_stands_a_dimension_that_never_varies_and_a_handful_of_cells() -> None:
    x = unit(np.array([[1.0, 0, 2], [0, 1, 2], [1.0, 0, 2]]))
    x[:, 2] = 0.5
    found = Probe()(task_of(np.array([0, 1]), np.array([0, 1, 0]), 2), Predictions({"cells": x[:2], "train": x}))
    assert plain(found["probe"]) == 1


def naive_auroc(known: list[float], unknown: list[float]) -> float:
    """Every pair of a known and an unknown cell, one by one; a tie is half a pair."""
    return float(np.mean([(a > b) + (a == b) / 2 for a in known for b in unknown]))


def split(scores: Array, task: Labels) -> tuple[list[float], list[float]]:
    rows = task.labels == task.unknown
    return scores[~rows].tolist(), scores[rows].tolist()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9999), st.integers(1, 30), st.booleans(), st.sampled_from([0.07, 0.5]))
def test_knn_tells_the_unknown_by_the_votes_of_the_known(seed: int, k: int, taught: bool, temperature: float) -> None:
    """With or without unknown training cells, and with cells of equal votes."""
    random = np.random.default_rng(seed)
    x, cells = unit(random.standard_normal((25, 4))), unit(random.standard_normal((12, 4)))
    cells[8:] = cells[:4]
    labels = np.append([0, 3], random.integers(0, 4, 10))
    task = task_of(labels, random.integers(0, 4 if taught else 3, 25), 4, unknown=3)
    found = Knn(k, temperature)(task, Predictions({"cells": cells, "train": x}))
    scores = []
    for cell in cells.astype(np.float64):
        cosines = x.astype(np.float64) @ cell
        nearest = sorted(range(len(x)), key=lambda row: (-cosines[row], row))[:k]
        scores.append(sum(np.exp(cosines[row] / temperature) for row in nearest if task.train_labels[row] != 3))
    assert list(found) == [f"knn@{k}", f"knn_balanced@{k}", f"knn_macro_f1@{k}", f"knn_unknown_auroc@{k}"]
    assert plain(found[f"knn_unknown_auroc@{k}"]) == pytest.approx(naive_auroc(*split(np.array(scores), task)))


def test_votes_of_a_small_temperature_are_compared_without_overflow() -> None:
    x, cells = unit(np.array([[1.0, 0], [0, 1]])), unit(np.array([[1.0, 0.1], [1, 0.2], [1, 0.9]]))
    task = task_of(np.array([0, 0, 2]), np.array([0, 1]), 3, unknown=2)
    found = Knn(1, temperature=1e-6)(task, Predictions({"cells": cells, "train": x}))
    assert plain(found["knn_unknown_auroc@1"]) == 1


@pytest.mark.parametrize("taught", [False, True])
def test_the_probe_tells_the_unknown_by_the_highest_known_probability(taught: bool) -> None:
    import torch

    from nearfar.metrics.answers.logistic import fit_logistic

    x, y, cells, labels = blobs(5, n=120)
    x, y = (x, y) if taught else (x[y != 2], y[y != 2])
    found = Probe(0.05)(task_of(labels, y, 3, unknown=2), Predictions({"cells": cells, "train": x}))
    mean, spread = x.mean(0), x.std(0)
    weights = fit_logistic(torch.from_numpy((x - mean) / spread), torch.from_numpy(y), 3, 0.05, 200).double().numpy()
    scores = (cells - mean) / spread @ weights[:-1] + weights[-1]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    expected = naive_auroc(*split(p[:, :2].max(1), task_of(labels, y, 3, unknown=2)))
    assert plain(found["probe_unknown_auroc"]) == pytest.approx(expected, abs=2e-3)  # a pair or two may be rounding
    assert 0.5 < expected < 1


@pytest.mark.parametrize("metric", [Knn(1), Probe()])
def test_without_known_or_unknown_cells_there_is_no_auroc(metric: Knn | Probe) -> None:
    vectors = {"cells": unit(np.eye(2)), "train": unit(np.eye(2))}
    for labels, unknown in (([0, 1], None), ([0, 1], 2), ([2, 2], 2)):
        found = metric(task_of(np.array(labels), np.array([0, 1]), 3, unknown), Predictions(vectors))
        assert [name for name in found if "auroc" in name] == []


@pytest.mark.parametrize("metric", [Knn(1), Probe()])
def test_answers_tell_the_unknown_as_they_are(metric: Knn | Probe) -> None:
    task = task_of(np.array([0, 1, 1, 2, 2]), np.array([0, 2]), 3, unknown=2)
    *_, area = metric(task, Predictions(answers=np.array([0, 1, 2, 2, 1]))).values()
    assert plain(area) == pytest.approx((2 * 1 + 2 * 0.5 + 0.5 + 0) / 6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9999))
def test_auroc_under_weights_is_that_of_copies(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive, scores, copies = random.random(20) < 0.5, random.integers(0, 6, 20) / 7, random.integers(0, 3, (2, 20))
    positive[:2], copies[:, :2] = [True, False], 1
    scores[5] = -np.inf
    found = auroc(positive, scores, copies.astype(np.float64))
    for value, times in zip(found, copies):
        flags, repeated = np.repeat(positive, times), np.repeat(scores, times)
        assert value == pytest.approx(naive_auroc(repeated[flags].tolist(), repeated[~flags].tolist()))
    assert np.isnan(auroc(positive, scores, positive[None].astype(np.float64)))[0]


def test_auroc_is_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    positive, scores = random.random(60) < 0.3, random.integers(0, 10, 60).astype(np.float64)
    assert auroc(positive, scores, np.ones((1, 60)))[0] == pytest.approx(sklearn.roc_auc_score(positive, scores))


@pytest.mark.parametrize("metric", [Knn(1), Probe()])
def test_answers_are_scored_as_they_are(metric: Knn | Probe) -> None:
    found = metric(task_of(np.array([0, 1, 1]), np.array([0]), 2), Predictions(answers=np.array([1, 1, 1])))
    accuracy, balanced, f1 = found.values()
    assert plain(accuracy) == pytest.approx(2 / 3)
    assert plain(balanced) == pytest.approx((0 + 1) / 2)
    assert plain(f1) == pytest.approx((0 + 4 / 5) / 2)


def test_settings_out_of_range_are_errors() -> None:
    for k, temperature in ((0, 0.07), (5, 0.0), (5, float("nan"))):
        with pytest.raises(InputError, match="knn: k must be at least 1"):
            Knn(k, temperature)
    for strength, iterations in ((-1.0, 5), (float("inf"), 5), (None, 0)):
        with pytest.raises(InputError, match="probe: strength must be"):
            Probe(strength, iterations)
    with pytest.raises(InputError, match=r"probe\.seed: -1 is no seed"):
        Probe(seed=-1)
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"alignment\.alpha"):
            Alignment(wrong)
        with pytest.raises(InputError, match=r"uniformity\.t"):
            Uniformity(wrong)


@pytest.mark.parametrize("metric", [Knn(1), Probe()])
def test_vectors_that_are_not_finite_are_an_error(metric: Knn | Probe) -> None:
    judged = Predictions({"cells": np.full((1, 2), np.nan, np.float32), "train": np.ones((1, 2), np.float32)})
    with pytest.raises(InputError, match="NaN"):
        metric(task_of(np.array([0]), np.array([0]), 1), judged)
