"""The examples run, on small data."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import pairs
from tests.contracts.samples import write_lines

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    write_lines(tmp_path / "pairs.jsonl", pairs())
    return tmp_path


def run(name: str, *words: str) -> None:
    before = sys.argv
    sys.argv = [name, *words]
    try:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv = before


def test_train_and_search_then_judge(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("train_and_search", "pairs.jsonl", "where is the red fox")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("held-out questions whose answer comes first: ")
    assert len(lines) == 4
    run("judge_beside_bm25", "runs/example/model", "pairs.jsonl")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ndcg@10: ")
    assert len(lines) == 3


def test_compare_temperatures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compare_temperatures", "pairs.jsonl")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["0.02", "0.05", "0.1", "0.5"]
    assert all(0 < float(row[1]) <= 1 for row in rows)


def test_every_example_is_run() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'run("{path.stem}"' not in tested] == []
