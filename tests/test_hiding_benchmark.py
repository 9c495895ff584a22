"""The benchmark of hiding: seeds measured in several calls are one result, and differences are of the seeds of both."""

from __future__ import annotations

import importlib
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_benchmarks import BENCHMARKS


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("_hiding_rows")


def test_rows_and_seeds_of_earlier_results_are_taken_up(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    class Measured:
        def __init__(self, *_: Any) -> None: ...

        def values(self, row: str, seed: int) -> list[float]:
            measured.append((row, seed))
            return [0.0, 0.5, 1.0, 0.25]

    monkeypatch.setattr(rows, "Rows", Measured)
    alone, hidden = rows.ALONE, rows.MASKED
    for name, values in (("a", {alone: {"0": "0 0 0 0", "1": "0 0 0 0"}}), ("b", {hidden: {"0": "1 1 1 0.5"}})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"few": {"values": values}}))
    before = [tmp_path / "a.json", tmp_path / "b.json"]
    found, bounds, _ = rows.study("", "few", Namespace(before=before, rows=[alone, hidden], seeds=[0, 2]), tmp_path)
    assert measured == [("floor", 0), (alone, 2), (hidden, 2)]
    assert found["values"][hidden] == {0: "1 1 1 0.5", 2: "0 0.5 1 0.25"}
    gap = found["differences"][f"{hidden} minus {alone}"]
    assert gap["seeds"] == [0, 2] and gap["value"] == pytest.approx((0.875 + 0.4375) / 2 - 0.4375 / 2)
    assert [one["value"] for one in bounds] == [gap["value"], gap["low"]]


def test_values_of_pairs_are_read_as_they_were_written(rows: Any) -> None:
    values = np.array([[0.25, -0.5, 1.0], [0.0, 3.2, 5.0]])
    assert np.array_equal(rows._values(rows._line(values)), values)
    assert np.array_equal(rows._values(rows._line(values[0])), values[0])


def test_few_pairs_are_some_of_all_and_always_the_same(rows: Any, tmp_path: Path) -> None:
    data = importlib.import_module("_hiding_data")
    for place in (tmp_path / "a", tmp_path / "b"):
        data.lines(place / "pairs.jsonl", ({"query": str(i), "key": str(-i)} for i in range(data.FEW + 50)))
    few = [data.few_pairs(tmp_path / name / "pairs.jsonl").read_text().splitlines() for name in ("a", "b")]
    assert few[0] == few[1] and len(set(few[0])) == data.FEW
    assert set(few[0]) <= set((tmp_path / "a" / "pairs.jsonl").read_text().splitlines())
