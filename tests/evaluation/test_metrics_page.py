"""The page about metrics: its example runs and measures what it says, and its table names every metric and floor."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from nearfar import registry
from nearfar.evaluation.baselines import floor_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_its_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    found = runpy.run_path(str(tmp_path / "example.py"))
    report, task = found["report"], found["task"]
    queries, documents = (column.read(0, len(column)) for column in (task.queries, task.documents))
    model = found["nf"].Model(found["encoder"])
    cosines = model.embed(queries, "query") @ model.embed(documents, "key").T
    first = np.argsort(-cosines, axis=1, kind="stable")[:, :3].tolist()
    assert report.metrics["hits@3"] == np.mean(
        [any(task.relevance[q].get(row) for row in r) for q, r in enumerate(first)]
    )
    assert report.baseline["bm25"]["hits@3"] == 1


def test_it_names_every_metric_and_floor() -> None:
    for name in (*registry.names("metrics"), *floor_names()):
        assert f"`{name}`" in PAGE, name
