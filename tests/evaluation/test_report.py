"""A report as JSON and as a table."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.report import Report
from nearfar.reports.console import show_report
from tests.evaluation.models import Table, retrieval

GAP = {"value": 0.1, "low": 0.05, "high": 0.15}
LOSS = {"value": -0.1, "low": -0.15, "high": -0.05}
DRAW = {"value": 0.01, "low": -0.05, "high": 0.07}


def report(**changes: object) -> Report:
    values: dict[str, object] = {
        "task": "a [task]",
        "metrics": {"map": 0.51234, "mrr@10": 0.6, "recall@1": 0.25, "uniformity": -3.5},
        "intervals": {name: {"low": 0.4, "high": 0.7} for name in ("map", "mrr@10", "recall@1")},
        "baseline": {"bm25": {"map": 0.41234, "mrr@10": 0.7, "recall@1": 0.24}},
        "difference": {"bm25": {"map": GAP, "mrr@10": LOSS, "recall@1": DRAW}},
        "fusion": {"bm25": {"map": 0.6, "mrr@10": 0.8, "recall@1": 0.3}},
        "protocol": {"queries": 1234, "documents": 9, "clusters": 7, "interval": {"confidence": 0.95}},
    }
    return Report(**(values | changes))  # type: ignore[arg-type]


def shown(printed: Report, colour: bool = False, width: int = 140) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    show_report(printed, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def line(text: str, start: str) -> str:
    return next(row for row in text.splitlines() if start in row)


def test_the_table_is_readable_without_colour() -> None:
    text = shown(report())
    assert "a [task]" in text
    header = text[: text.index("\n", text.index("metric  "))].split("\n\n")[1]
    assert [row.split() for row in header.splitlines()[:-1]] == [["fusion"], ["with"]]  # with BM25, in three lines
    for words in ("model [low, high]", "BM25", "difference [low, high]"):
        assert words in line(text, "metric")
    assert text.splitlines()[:3] == [
        "a [task]: 1,234 queries, 9 documents",
        "Worse than BM25: MRR@10 0.600 [0.400, 0.700], 0.100 [0.050, 0.150] below it.",
        "As it stands, BM25 is the better choice here. More training pairs, mined negatives or a pretrained",
    ]
    for words in ("0.512 [0.400, 0.700]", "0.412", "0.600", "+0.100 [+0.050, +0.150] better"):
        assert words in line(text, "map")
    assert "-0.100 [-0.150, -0.050] worse" in line(text, "mrr@10")
    assert not any(verdict in line(text, "recall@1") for verdict in ("better", "worse"))
    assert line(text, "uniformity").split() == ["uniformity", "-3.500", "-", "-", "-"]
    assert text.splitlines()[-1] == "[low, high]: 95% interval over 7 clusters"
    rows = [row.split()[0] for row in text.splitlines() if row.startswith(("mrr", "map", "recall", "uniformity"))]
    assert rows == ["mrr@10", "map", "recall@1", "uniformity"]  # the verdict's metric is the first


def test_the_table_has_colour_where_a_difference_excludes_zero() -> None:
    text = shown(report(), colour=True)
    assert "\x1b[32m" in line(text, "map")
    assert "\x1b[31m" in line(text, "mrr@10  ")
    assert "\x1b[1;31mWorse than BM25" in text
    assert "\x1b[3" not in line(text, "recall@1")


def test_the_table_of_several_baselines_names_each() -> None:
    two = {"bm25": {"map": 0.4}, "runs/[x]": {"map": 0.3}}
    text = shown(
        report(baseline=two, difference={"bm25": {"map": GAP}, "runs/[x]": {"map": LOSS}}, fusion=two), width=200
    )
    names = " ".join(text.split("metric")[0].split("\n\n")[1].split() + line(text, "metric").split())
    assert names.count("with") == 2 and "BM25" in names and "runs/[x]" in names
    assert "-0.100 [-0.150, -0.050] worse" in line(text, "map")
    assert "better" in line(text, "map")


def test_the_table_without_baseline_intervals_or_protocol() -> None:
    text = shown(Report("t", {"map": math.nan, "mrr@10": 0.5}, {"mrr@10": {"low": math.nan, "high": math.nan}}))
    assert line(text, "map").split() == ["map", "-"]
    assert line(text, "mrr@10  ").split() == ["mrr@10", "0.500"]
    few = report(protocol={"pairs": 3, "clusters": 1, "interval": {"confidence": 0.95}, "intervals": "one cluster"})
    assert shown(few).splitlines()[-1] == "no intervals: one cluster"


def test_the_values_of_each_class_stand_below_of_many_the_lowest() -> None:
    few = {"classes": ["cat", "dog\x1b"], "cells": [1200, 3], "values": {"uniformity": [1, 1], "knn@20": [0.25, 1]}}
    text = shown(report(by_class=few))
    assert line(text, "cat").split() == ["cat", "1,200", "0.250"]
    assert line(text, "dog").split() == ["dog\\u001b", "3", "1.000"]
    many = {
        "classes": [f"c{i:02}" for i in range(30)],
        "cells": [1] * 30,
        "values": {"knn@20": [i / 30 for i in range(30)]},
    }
    text = shown(report(by_class=many))
    assert "lowest" in text and "c00" in text and "c19" in text and "c20" not in text
    one = {"classes": ["cat"], "cells": [3], "values": {"knn@20": [1.0]}}
    assert "cells" not in shown(report(by_class=one))


def test_hits_and_recall_are_told_apart_where_queries_have_several_relevant_documents() -> None:
    metrics = {"hit_rate@5": 0.5, "recall@1": 0.1}
    captions = {"relevant documents of a query": {"least": 5, "mean": 5.0, "most": 5}}
    assert "a query has 5 relevant documents on average: hit_rate@k" in shown(
        report(metrics=metrics, protocol=captions)
    )
    one = {"relevant documents of a query": {"least": 1, "mean": 1.0, "most": 1}}
    for changes in ({"metrics": metrics, "protocol": one}, {"protocol": captions}):
        assert "on average" not in shown(report(**changes))


def test_json_has_the_agreed_keys_and_plain_values() -> None:
    notes = {"path": Path("x"), "array": np.arange(2), "number": np.float32(0.5), "set": {1}, "none": None, 3: math.inf}
    result = report(protocol={"notes": notes}).to_json()
    agreed = "task verdict metrics intervals baseline difference fusion fusion_difference protocol histogram worst"
    agreed += " by_class projection_map samples sheet search"
    assert " ".join(result) == agreed
    assert result["difference"]["bm25"]["map"] == GAP
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again["protocol"]["notes"] == {
        "path": "x", "array": [0, 1], "number": 0.5, "set": [1], "none": None, "3": None,
    }  # fmt: skip


def test_the_documents_that_training_has_seen_are_counted() -> None:
    task = retrieval(["p", "q"], ["a", "b", "c"], {0: {0: 1}, 1: {1: 1}})
    model = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1], "c": [1, 1]})
    for seen, count in (([True, False, True], 2), ([False] * 3, 0)):
        known = replace(task, seen=np.array(seen))
        assert evaluate(model, known, resamples=2).protocol["documents seen in training"] == count
    assert "documents seen in training" not in evaluate(model, task, resamples=2).protocol
