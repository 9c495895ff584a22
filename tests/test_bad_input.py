"""`benchmarks/bad_input.py`: it meets every command and kind of input, and what is wrong with an answer is seen."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nearfar.cli import app

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RIGHT = {
    "exit": 2,
    "mb": 5.0,
    "seconds": 0.1,
    "cpu": 0.1,
    "stdout": "",
    "stderr": "nearfar: x.csv: the file is empty\n",
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bad_input")


def test_every_command_and_kind_meets_bad_input(script: Any) -> None:
    calls = list(script.calls())
    assert len(calls) == len({call.name for call in calls}) >= 300
    commands = {command.name for command in app().registered_commands} | {
        group.name for group in app().registered_groups
    }
    assert commands <= {call.words[0] for call in calls}
    kinds = {call.kind for call in calls}
    assert {"JSONL", "CSV", "Parquet", ".json.zst", "BEIR qrels", "datasets folder", "Python packages"} <= kinds
    assert {"model: static", "model: dual", "model: Router", "recipe", "results.json", "decisions"} <= kinds
    assert {"captions: captions.jsonl", "captions: captions.json", "captions: captions.tar"} <= kinds
    assert {"texts", "objective", "config", "folder: masked", "folder: causal", "completion"} <= kinds
    documents = {call.kind.removeprefix("document: ") for call in calls if call.kind.startswith("document: ")}
    assert {"PDF", "HTML", "picture", "file", "JSONL", "CSV", "Parquet", "BEIR corpus"} <= documents


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"exit": -6}, "ended by signal 6"),
        ({"exit": 134}, "exit code 134"),
        ({"exit": 1, "stderr": "Traceback (most recent call last):\n  x\nKeyError: 1\n"}, "a traceback"),
        ({"exit": 0, "stderr": ""}, "nothing was said"),
        ({"exit": 0, "stderr": "nearfar: warning: row 3 is empty\n"}, ""),
        ({"stderr": "nearfar: a\nb\nc\n"}, "more than two lines"),
        ({"stderr": ""}, "more than two lines"),
        ({"stdout": "{}"}, "an answer beside the error"),
        ({"stderr": "nearfar: \x1b[2J\n"}, "control characters"),
        ({"mb": 5000.0}, "more than 1024 MB"),
        ({"cpu": 31.0}, "more than 30 s"),
        ({"exploded": True}, "code was run"),
    ],
)
def test_what_is_wrong_with_an_answer_is_seen(script: Any, change: dict[str, Any], fault: str) -> None:
    found = script.faults({**RIGHT, **change})
    assert fault in found if fault else found == []


def test_another_answer_in_another_round_is_seen(script: Any) -> None:
    call = script.Call("audit", "CSV", "empty", ("audit", "x.csv"), print)
    assert script.row_of(call, [RIGHT, RIGHT])["faults"] == []
    other = {**RIGHT, "stderr": "nearfar: x.csv: no such file\n"}
    assert script.row_of(call, [RIGHT, other])["faults"] == ["another answer in another round"]


@pytest.mark.slow
def test_calls_are_met_in_processes_of_their_own(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--only", "^train .*TSV / a field", "--rounds", "2", "--busy", "1", "--out", str(tmp_path)]
    monkeypatch.setenv("NEARFAR_CACHE", "")
    monkeypatch.setattr(sys, "argv", ["bad_input", *options])
    script.main()
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert path.name in capsys.readouterr().out
    assert [(row["damage"], row["exits"], row["faults"]) for row in kept["rows"]] == [
        ("a field more", [2, 2], []),
        ("a field less", [2, 2], []),
    ]
    assert all("x.tsv: row 5 (line 6)" in row["said"] for row in kept["rows"])
