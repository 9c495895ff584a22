"""The values of rows that a report keeps: two reports compared by them differ as a model and its baseline do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar.evaluation.paired import paired_differences, row_differences
from nearfar.evaluation.report import Report
from nearfar.evaluation.row_values import RowValues, task_parts
from nearfar.tasks import Labels, PairLabels, Retrieval, Similarity, Task
from tests.evaluation.models import Words, labelled, retrieval, same_or_not

THINGS = ["fox", "goose", "river", "stone", "cloud", "engine", "garden", "letter", "window", "bridge", "lamp"]
TEXTS = [f"{THINGS[i % 11]} {THINGS[i * i % 11]} {i % 7} {THINGS[(i * 5 + 2) % 11]}" for i in range(60)]


def words_of(i: int) -> str:
    return " ".join(TEXTS[i].split()[::-1][:2])


def tasks() -> dict[str, Task]:
    asked = [words_of(i) for i in range(40)]
    first, second = [f"{text} a" for text in TEXTS], [words_of(i * 7 % 60) for i in range(60)]
    grades = np.array([i % 6 for i in range(60)], np.float64)
    column = retrieval(first, second, {0: {0: 1}})
    return {
        "retrieval": retrieval(
            asked, TEXTS, {i: {i: 1, (i + 9) % 60: 2} for i in range(40)}, [i // 2 for i in range(40)]
        ),
        "similarity": Similarity("graded", column.queries, column.documents, grades, np.arange(60)),
        "labels": labelled(TEXTS[:40], [i % 2 for i in range(40)], TEXTS[40:], [i % 2 for i in range(40, 60)]),
        "pair labels": same_or_not(
            [(TEXTS[i], words_of(i if i % 3 else (i + 4) % 60), bool(i % 3)) for i in range(30)],
            [(TEXTS[i], words_of(i if i % 2 else (i + 4) % 60), bool(i % 2)) for i in range(30, 60)],
        ),
    }


def reports(kind: str, **options: Any) -> tuple[Report, Report]:
    """The reports on two models; the first is a baseline of the second."""
    task, one, other = tasks()[kind], Words(8), Words(24)
    drawn = {"resamples": 200, "seed": 3, **options}
    return nf.evaluate(one, task, baselines=[], **drawn), nf.evaluate(other, task, baselines=[one], **drawn)


def rows_of(report: Report) -> RowValues:
    assert report.rows is not None
    return report.rows


@pytest.mark.parametrize("kind", tasks())
def test_two_runs_differ_as_a_model_and_its_baseline(kind: str) -> None:
    first, second = reports(kind)
    (of_baseline,) = second.difference.values()
    found = paired_differences(rows_of(first), rows_of(second))
    assert set(found) == set(of_baseline) != set()
    for name, gap in of_baseline.items():
        assert found[name] == pytest.approx(gap, abs=1e-12), name
    assert any(gap["low"] < gap["value"] < gap["high"] for gap in found.values())


@pytest.mark.parametrize("kind", tasks())
def test_the_other_order_gives_mirrored_differences(kind: str) -> None:
    first, second = map(rows_of, reports(kind))
    found, back = paired_differences(first, second), paired_differences(second, first)
    for name, gap in found.items():
        mirrored = {"value": -gap["value"], "low": -gap["high"], "high": -gap["low"]}
        assert back[name] == pytest.approx(mirrored, abs=1e-9), name


def test_differences_of_rows_are_those_of_a_naive_loop() -> None:
    first, second = map(rows_of, reports("retrieval"))
    naive = [float(b) - float(a) for a, b in zip(first.values["mrr@10"], second.values["mrr@10"])]
    found = row_differences(first, second, "mrr@10")
    assert found.values.tolist() == naive
    counts = sum(gap > 0 for gap in naive), sum(gap < 0 for gap in naive), sum(gap == 0 for gap in naive)
    assert (found.better, found.worse, found.equal) == counts
    assert min(counts) > 0, "the models differ in both directions, or the test says nothing"
    assert [naive[row] for row in found.order] == sorted(naive, reverse=True)
    assert paired_differences(first, second)["mrr@10"]["value"] == pytest.approx(sum(naive) / len(naive), abs=1e-15)


def test_a_row_without_a_value_is_neither_win_nor_loss() -> None:
    first, second = map(rows_of, reports("retrieval"))
    values = second.values["mrr@10"].copy()
    values[5] = np.nan
    found = row_differences(first, replace(second, values={"mrr@10": values}), "mrr@10")
    assert 5 not in found.order
    assert found.better + found.worse + found.equal == len(values) - 1


def test_statistics_of_other_resamples_are_not_paired() -> None:
    first, _ = reports("similarity")
    _, second = reports("similarity", seed=4)
    assert paired_differences(rows_of(first), rows_of(second)) == {}


def test_a_query_is_kept_with_what_was_ranked() -> None:
    _, second = reports("retrieval")
    kept, task = rows_of(second), tasks()["retrieval"]
    assert isinstance(task, Retrieval)
    for query, row in enumerate(kept.rows):
        assert (row["text"], row["id"]) == (words_of(query), f"q{query}")
        texts = [kept.documents[place] for place in row["found"]]
        assert row["relevant"] == [task.relevance[query].get(TEXTS.index(text), 0) > 0 for text in texts]
        assert kept.documents[row["expected"][0]] == TEXTS[(query + 9) % 60], "the best grade first"
        assert (row["rank"] == 1) == row["relevant"][0]
    json.dumps(kept.to_json(), allow_nan=False)


def test_a_cell_is_kept_with_its_class_and_a_picture_without_its_pixels() -> None:
    first, _ = reports("labels")
    assert rows_of(first).rows[1] == {"text": TEXTS[1], "label": "odd"}
    pictures = [np.full((2, 2, 3), i, np.uint8) for i in range(4)]
    task = labelled(pictures, [0, 1, 0, 1], pictures[::-1], [1, 0, 1, 0])

    class Mean:
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            vectors = np.array([[1.0, float(np.mean(cell))] for cell in cells], np.float32)
            unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            return unit

    report = nf.evaluate(Mean(), task, {"name": "knn", "k": 1}, baselines=[], resamples=10)
    assert rows_of(report).rows[1] == {"text": "", "label": "odd"}


def test_no_rows_are_kept_while_training() -> None:
    assert nf.evaluate(Words(), tasks()["retrieval"], baselines=[], resamples=2, look=False).rows is None


def changed(task: Task) -> dict[str, Task]:
    """The task with one part changed, by the part's name."""
    if isinstance(task, Retrieval):
        other = retrieval(["another", *words()], TEXTS, task.relevance).queries
        return {
            "queries": replace(task, queries=other),
            "relevance": replace(task, relevance={**task.relevance, 3: {4: 1}}),
            "documents that are not ranked": replace(task, excluded={0: [50]}),
            "clusters": replace(task, clusters=np.arange(40)),
        }
    if isinstance(task, Labels):
        return {
            "labels": replace(task, labels=1 - task.labels),
            "labels of the training cells": replace(task, train_labels=task.train_labels[::-1].copy()),
            "training cells": replace(task, train=retrieval(TEXTS[20:40], ["a"], {0: {0: 1}}).queries),
        }
    if isinstance(task, PairLabels):
        return {
            "labels": replace(task, same=~task.same),
            "labels of the dev pairs": replace(task, dev=_other_dev(task)),
        }
    assert isinstance(task, Similarity)
    return {"grades": replace(task, scores=task.scores + 1)}


def words() -> list[str]:
    return [words_of(i) for i in range(1, 40)]


def _other_dev(task: PairLabels) -> PairLabels:
    assert task.dev is not None
    return replace(task.dev, same=~task.dev.same)


@pytest.mark.parametrize("kind", tasks())
def test_another_task_differs_in_the_part_that_is_another(kind: str) -> None:
    task = tasks()[kind]
    mine = task_parts(task)
    assert task_parts(tasks()[kind]) == mine, "made anew, the same"
    for part, other in changed(task).items():
        theirs = task_parts(other)
        assert [name for name in mine if mine[name] != theirs[name]] == [part]


def test_what_training_has_seen_is_no_part_of_a_task() -> None:
    task = tasks()["retrieval"]
    assert isinstance(task, Retrieval)
    assert task_parts(replace(task, seen=np.ones(60, bool))) == task_parts(task)


def test_cells_without_an_identity_are_counted() -> None:
    class Odd:
        pass

    task = labelled([Odd(), Odd()], [0, 1], [Odd()], [1])
    parts = task_parts(task)
    assert (parts["cells"], parts["training cells"]) == ("2 cells without an identity", "1 cells without an identity")
