"""What a recipe's `evaluate` asks for: metrics, the tasks of a split that they take, and the floors of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from nearfar.contracts import Positives
from nearfar.errors import InputError
from nearfar.evaluation.splits import judgements
from nearfar.metrics.knn import Knn
from nearfar.tasks import Task
from tests.evaluation.models import Table, labelled, retrieval

MODEL = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1]})


class Both:
    """Positives with two tasks a split: find the other view, tell the class."""

    def task(self, split: str) -> Task:
        return self.tasks(split)[0]

    def tasks(self, split: str) -> Sequence[Task]:
        classes = labelled(["a", "b"], [0, 1], ["p", "q"], [0, 1])
        found: list[Task] = [retrieval(["p", "q"], ["a", "b"], {0: {0: 1}, 1: {1: 1}}), classes]
        return found[:1] if split == "plain" else found


def plan(*entries: dict[str, Any], baselines: Any = None) -> Any:
    positives: Positives = Both()  # type: ignore[assignment]
    return judgements([{"split": "heldout", **entry} for entry in entries], positives, baselines)


def test_each_metric_gets_the_first_task_that_it_takes() -> None:
    first, second = plan({"name": "knn", "k": 1}, {"name": "retrieval"}, {"name": "knn", "k": 2})
    assert (first.name, second.name) == ("heldout", "heldout retrieval")
    assert [metric.k for metric in first.metrics if isinstance(metric, Knn)] == [1, 2]
    report = first.report(MODEL)
    assert (report.metrics["knn@1"], list(report.baseline)) == (1, ["majority"])
    assert "knn@2" in report.metrics and "probe" not in report.metrics
    assert list(second.report(MODEL).baseline) == ["bm25"]
    assert second.numbers(MODEL)["mrr@10"] == 1


def test_splits_are_apart() -> None:
    found = plan({"name": "retrieval"}, {"name": "retrieval", "split": "plain"}, {"name": "probe", "split": "other"})
    assert [one.name for one in found] == ["heldout", "plain", "other"]


def test_a_floor_is_used_where_it_serves() -> None:
    entries = {"name": "retrieval"}, {"name": "knn"}
    for given, expected in (
        (["bm25_stems", "pixels"], None),
        (["bm25-stems"], [["bm25-stems"], None]),
        (["bm25", "majority", MODEL], [["bm25", MODEL], ["majority", MODEL]]),
        ([MODEL], [[MODEL], [MODEL]]),
        (MODEL, [[MODEL], [MODEL]]),
        ("random_order", [["random-order"], None]),
        ("none", [[], []]),
        ([], [[], []]),
        (None, [None, None]),
    ):
        if expected is None:
            with pytest.raises(InputError, match="pixels cannot judge"):
                plan(*entries, baselines=given)
        else:
            assert [one.baselines for one in plan(*entries, baselines=given)] == expected


def test_what_cannot_be_judged_is_an_error_before_training() -> None:
    with pytest.raises(InputError) as error:
        plan({"name": "retrieval"}, {"name": "knn", "split": "plain"})
    assert str(error.value).startswith(
        "evaluate.1: split 'plain': metric knn takes a task of labels, there is one of retrieval; metrics that would do"
    )
    assert "retrieval" in str(error.value).partition("would do: ")[2]
    with pytest.raises(InputError, match="takes a task of similarity, there is one of retrieval and labels"):
        plan({"name": "correlation"})
    with pytest.raises(InputError, match="both give 'knn@20'"):
        plan({"name": "knn"}, {"name": "knn", "temperature": 1})
    with pytest.raises(InputError, match="knn: k must be at least 1"):
        plan({"name": "knn", "k": 0})
    with pytest.raises(InputError, match="no baseline is called 'bm52'"):
        plan({"name": "knn"}, baselines=["bm52"])
    assert plan(baselines=["bm25"]) == []  # nothing is judged


def test_a_split_that_is_called_as_another_s_second_task_keeps_its_entry() -> None:
    given = [{"name": "retrieval", "split": "a"}, {"name": "knn", "split": "a labels"}, {"name": "knn", "split": "a"}]
    found = plan(*given)
    assert [one.split for one in found] == ["a", "a labels", "a"]
    assert len({one.name for one in found}) == 3


def test_a_split_whose_classes_are_told_from_itself_is_refused() -> None:
    class Own(Both):
        def tasks(self, split: str) -> Sequence[Task]:
            cells = ["a", "b", "a"] if split == "train" else ["a", "b", "c"]
            classes = labelled(cells, [0, 1, 0], ["a", "b", "a"], [0, 1, 0])
            return [retrieval(["p", "q"], ["a", "b"], {0: {0: 1}, 1: {1: 1}}), classes]

    positives: Positives = Own()  # type: ignore[assignment]
    for name in ("knn", "probe"):
        with pytest.raises(InputError, match=r"evaluate\.1: the classes of split .* judge by another split"):
            judgements([{"name": "retrieval", "split": "train"}, {"name": name, "split": "train"}], positives, None)
        assert judgements([{"name": name, "split": "heldout"}], positives, None)


def test_a_task_of_retrieval_is_judged_in_both_directions() -> None:
    back = {"name": "hit_rate", "direction": "key-to-query"}
    first, second = plan({"name": "hit_rate", "direction": "query-to-key"}, back)
    assert [(one.name, one.split) for one in (first, second)] == [
        ("heldout", "heldout"),
        ("heldout key-to-query", "heldout"),
    ]
    assert second.task.query_ids == first.task.document_ids
    assert second.numbers(MODEL)["hit_rate@1"] == 1
    with pytest.raises(InputError, match=r"evaluate\.0\.direction: 'key-to-qury': .*did you mean 'key-to-query'"):
        plan({"name": "hit_rate", "direction": "key-to-qury"})
    with pytest.raises(InputError, match=r"metric knn takes a task of labels, there is one of retrieval"):
        plan({"name": "knn", "direction": "key-to-query"})
