"""Reports on labels and on labelled pairs: values worked out by hand, intervals, floors, what is left out."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest

import nearfar as nf
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate
from nearfar.tasks import Labels, PairLabels
from tests.evaluation.models import Table, labelled, retrieval, same_or_not

QUICK: dict[str, Any] = {"resamples": 100}
SPACE = {"alignment", "uniformity", "effective_rank", "random_cosine"}
MODEL = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1], "c": [1, 0.5], "d": [0.4, 1]})


def labels(times: int = 1) -> Labels:
    """The classes are the halves of the plane, but c is of the other one."""
    return labelled(["a", "b", "c", "d"] * times, [0, 1, 1, 1] * times, ["p", "q", "q"], [0, 1, 1])


def test_labels_have_metrics_intervals_and_a_floor() -> None:
    report = evaluate(MODEL, labels(10), ["probe", {"name": "knn", "k": 1}], **QUICK)
    names = ["probe", "probe_balanced", "probe_macro_f1", "knn@1", "knn_balanced@1", "knn_macro_f1@1"]
    assert list(report.metrics)[:6] == names
    assert set(report.metrics) == {*names} | SPACE
    assert report.metrics["knn@1"] == 0.75
    assert report.metrics["knn_macro_f1@1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert set(report.intervals) == set(report.metrics) - SPACE
    for name, interval in report.intervals.items():
        assert interval["low"] <= report.metrics[name] <= interval["high"]
    majority = report.baseline["majority"]
    assert majority == {
        "probe": 0.75,
        "probe_balanced": 0.5,
        "probe_macro_f1": pytest.approx(6 / 7 / 2),
        "knn@1": 0.75,
        "knn_balanced@1": 0.5,
        "knn_macro_f1@1": pytest.approx(3 / 7),
    }
    assert report.difference["majority"]["knn@1"]["value"] == 0
    gap = report.difference["majority"]["knn_macro_f1@1"]
    assert gap["value"] == pytest.approx((2 / 3 + 4 / 5) / 2 - 3 / 7)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert (report.fusion, report.fusion_difference, report.worst) == ({}, {}, [])
    assert sum(report.histogram["positive"]) == 40
    json.dumps(report.to_json(), allow_nan=False)


def test_an_unknown_class_has_its_own_value_and_the_majority_is_chance() -> None:
    """c and d are unknown; a and b lie nearer to their training cells than c to any, and d than a to q."""
    task = labelled(["a", "b", "c", "d"], [0, 1, 2, 2], ["p", "q"], [0, 1], classes=["a", "b", "?"], unknown=2)
    report = evaluate(MODEL, task, ["knn", {"name": "knn", "k": 1}], **QUICK)
    assert report.metrics["knn_unknown_auroc@1"] == 1
    assert report.metrics["knn@1"] == 0.5  # no training cell is unknown
    assert report.baseline["majority"]["knn_unknown_auroc@1"] == 0.5
    assert report.difference["majority"]["knn_unknown_auroc@1"]["value"] == 0.5
    assert "knn_unknown_auroc@1" in report.intervals


def test_the_protocol_of_labels_says_how() -> None:
    protocol = evaluate(MODEL, labels(), **QUICK).protocol
    sizes = {name: protocol[name] for name in ("kind", "cells", "training cells", "classes", "clusters")}
    assert sizes == {"kind": "labels", "cells": 4, "training cells": 3, "classes": 2, "clusters": 4}
    assert "the 20 nearest training cells vote" in protocol["metrics"]["knn@20"]
    unknown = {"knn_unknown_auroc@20", "probe_unknown_auroc"}  # no class is the unknown one
    assert set(protocol["left out"]["model"]) == unknown
    assert set(protocol["left out"]["majority"]) == SPACE | unknown
    assert protocol["baselines"]["majority"]["class"] == "odd"
    assert "worst" not in protocol and "fusion" not in protocol


def test_the_usual_metrics_and_those_with_settings() -> None:
    assert set(evaluate(MODEL, labels(), baselines=[], **QUICK).metrics) == SPACE | {
        *("knn@20", "knn_balanced@20", "knn_macro_f1@20", "probe", "probe_balanced", "probe_macro_f1"),
    }
    given = [nf.metrics.Knn(k=1), nf.metrics.Uniformity(t=1.0)]
    report = evaluate(MODEL, labels(), given, **QUICK)
    assert set(report.metrics) == SPACE | {"knn@1", "knn_balanced@1", "knn_macro_f1@1"}
    usual = evaluate(MODEL, labels(), ["knn"], **QUICK)
    assert report.metrics["uniformity"] > usual.metrics["uniformity"]  # t is 2 usually


def pairs(dev: bool) -> PairLabels:
    rows = [("a", "p", True), ("b", "q", True), ("a", "b", False), ("p", "q", False), ("c", "d", False)]
    return same_or_not(rows, [("a", "c", True), ("a", "d", False)] if dev else None)


def test_labelled_pairs_have_metrics_intervals_and_a_floor() -> None:
    report = evaluate(MODEL, pairs(dev=True), **QUICK)
    assert set(report.metrics) == {"pair_ap", "pair_f1", "pair_accuracy"} | SPACE
    # The threshold lies between the cosines of the dev pairs, 0.93 and 0.46; that of c and d is 0.75.
    assert (report.metrics["pair_ap"], report.metrics["pair_f1"], report.metrics["pair_accuracy"]) == (1, 0.8, 0.8)
    assert set(report.intervals) == {"pair_ap", "pair_f1", "pair_accuracy"}
    floor = report.baseline["word-overlap"]  # no pair shares a word: those that are different come first
    assert floor["pair_ap"] == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert floor["pair_f1"] == pytest.approx(2 * 2 / (5 + 2))  # all are called the same
    assert set(report.difference["word-overlap"]) == {"pair_ap", "pair_f1", "pair_accuracy"}
    assert (report.protocol["same"], report.protocol["dev pairs"]) == (2, 2)
    assert sum(report.histogram["positive"]) == 2


def test_without_dev_pairs_what_needs_a_threshold_is_left_out_by_name() -> None:
    report = evaluate(MODEL, pairs(dev=False), baselines=[MODEL], **QUICK)
    assert set(report.metrics) == {"pair_ap"} | SPACE
    assert report.protocol["left out"] == {
        "model": ["pair_f1", "pair_accuracy"],
        "model 2": ["pair_f1", "pair_accuracy"],
    }
    assert list(report.difference["model 2"]) == ["pair_ap"]
    assert report.difference["model 2"]["pair_ap"]["value"] == 0
    assert report.to_json()["intervals"]["pair_ap"]["low"] is None  # some resample has no pair that is the same
    assert "null" in report.protocol


def test_a_metric_that_does_not_take_the_task_says_which_would() -> None:
    with pytest.raises(
        InputError, match=r"labelled: metric retrieval takes a task of retrieval, there is one of labels;"
    ):
        evaluate(MODEL, labels(), ["retrieval"])
    with pytest.raises(InputError, match=r"metrics that would do: .*knn, .*probe"):
        evaluate(MODEL, labels(), ["correlation"])
    with pytest.raises(InputError, match="no part is called 'knm'; did you mean 'knn'"):
        evaluate(MODEL, labels(), ["knm"])
    with pytest.raises(InputError, match=r"would run code from outside nearfar"):
        evaluate(MODEL, labels(), ["os:path"])
    with pytest.raises(InputError, match="metrics knn and knn both give 'knn@3'"):
        evaluate(MODEL, labels(), [nf.metrics.Knn(3), nf.metrics.Knn(3, temperature=1)])


def test_a_metric_of_a_wrong_shape_or_without_a_meaning_is_an_error() -> None:
    class Wrong:
        takes: ClassVar[tuple[type, ...]] = (Labels,)
        needs: ClassVar[tuple[str, ...]] = ("vectors",)
        usual: ClassVar[bool] = False
        meaning: ClassVar[dict[str, str]] = {"mine": "a value of somebody's own"}

        def __init__(self, value: Any) -> None:
            self.value = value

        def __call__(self, task: Any, judged: Any) -> dict[str, Any]:
            found: dict[str, Any] = self.value
            return found

    with pytest.raises(InputError, match=r"metric mine: gives \(2,\) values for the task's 4 rows"):
        evaluate(MODEL, labels(), [Wrong({"mine": np.zeros(2)})], **QUICK)
    with pytest.raises(InputError, match="returns 'yours', which is not in its `meaning`"):
        evaluate(MODEL, labels(), [Wrong({"yours": 1.0})], **QUICK)
    assert evaluate(MODEL, labels(), [Wrong({"mine": 7})], baselines=[], **QUICK).metrics["mine"] == 7


def test_pictures_are_judged_beside_their_pixels() -> None:
    """Bright and dark halves: the pixels tell them apart, and the worst queries say what they are."""
    random = np.random.default_rng(0)

    def picture(top: int, size: int) -> np.ndarray:
        noise = random.integers(0, 40, (size, size + 5, 3))
        noise[: size // 2] += top
        noise[size // 2 :] += 160 - top
        return noise.astype(np.uint8)

    class Blind:
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return np.ones((len(cells), 1), np.float32)

    cells = [picture(160 * (i % 2), 10 + i) for i in range(8)]
    train = [picture(160 * (i % 2), 40 - i) for i in range(8)]
    classes = [i % 2 for i in range(8)]
    report = evaluate(Blind(), labelled(cells, classes, train, classes), [nf.metrics.Knn(3)], **QUICK)
    assert list(report.baseline) == ["majority", "pixels"]
    assert report.baseline["pixels"]["knn@3"] == 1
    assert report.metrics["knn@3"] <= 0.5 == report.baseline["majority"]["knn@3"]
    assert set(report.baseline["pixels"]) > SPACE
    found = evaluate(Blind(), retrieval(cells, train, {0: {3: 1}}), **QUICK)
    assert list(found.baseline) == ["pixels"]
    assert found.worst[0]["query"] == "image (10, 15, 3)"
    assert found.samples == [], "a sample search is of texts"
