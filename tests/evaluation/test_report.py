"""A report as JSON and as a table."""

import io
import json
import math
from pathlib import Path

import numpy as np
from rich.console import Console

from nearfar.evaluation.report import Report
from nearfar.reports.console import report_table

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
    console.print(report_table(printed))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def line(text: str, start: str) -> str:
    return next(row for row in text.splitlines() if start in row)


def test_the_table_is_readable_without_colour() -> None:
    text = shown(report())
    assert "a [task]" in text
    for words in ("model [low, high]", "bm25", "fusion", "difference [low, high]"):
        assert words in line(text, "metric")
    for words in ("0.512 [0.400, 0.700]", "0.412", "0.600", "+0.100 [+0.050, +0.150] better"):
        assert words in line(text, "map")
    assert "-0.100 [-0.150, -0.050] worse" in line(text, "mrr@10")
    assert not any(verdict in line(text, "recall@1") for verdict in ("better", "worse"))
    assert line(text, "uniformity").count(" - ") == 3
    assert "1,234 queries, 9 documents; [low, high]: 95% interval over 7 clusters" in text


def test_the_table_has_colour_where_a_difference_excludes_zero() -> None:
    text = shown(report(), colour=True)
    assert "\x1b[32m" in line(text, "map")
    assert "\x1b[31m" in line(text, "mrr@10")
    assert "\x1b[3" not in line(text, "recall@1")


def test_the_table_of_several_baselines_names_each() -> None:
    two = {"bm25": {"map": 0.4}, "runs/[x]": {"map": 0.3}}
    text = shown(
        report(baseline=two, difference={"bm25": {"map": GAP}, "runs/[x]": {"map": LOSS}}, fusion=two), width=200
    )
    for words in ("fusion with bm25", "difference to bm25", "runs/[x]", "difference to runs/[x]"):
        assert words in text
    assert "better" in line(text, "map")
    assert "worse" in line(text, "map")


def test_the_table_without_baseline_intervals_or_protocol() -> None:
    text = shown(Report("t", {"map": math.nan, "mrr@10": 0.5}, {"mrr@10": {"low": math.nan, "high": math.nan}}))
    assert " - " in line(text, "map")
    assert "0.500 " in line(text, "mrr@10")
    note = {"confidence": 0.95, "note": "no intervals: one cluster"}
    assert "no intervals" in shown(report(protocol={"pairs": 3, "clusters": 1, "interval": note}))


def test_json_has_the_agreed_keys_and_plain_values() -> None:
    notes = {"path": Path("x"), "array": np.arange(2), "number": np.float32(0.5), "set": {1}, "none": None, 3: math.inf}
    result = report(protocol={"notes": notes}).to_json()
    agreed = "task metrics intervals baseline difference fusion fusion_difference protocol histogram worst map samples"
    assert " ".join(result) == agreed
    assert result["difference"]["bm25"]["map"] == GAP
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again["protocol"]["notes"] == {
        "path": "x", "array": [0, 1], "number": 0.5, "set": [1], "none": None, "3": None,
    }  # fmt: skip
