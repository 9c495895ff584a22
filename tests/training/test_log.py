from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nearfar.errors import InputError, RunError
from nearfar.training.log import EventFile
from tests.training.runs import files_up_to


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "events.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    with EventFile(tmp_path, resumed=False, tensorboard=False) as events:
        events.write("step", step=1, loss=math.nan, deep={"a": math.inf, "b": [1.5, -math.inf]}, text="ü")
    (line,) = lines(tmp_path)
    assert (line["event"], line["loss"], line["deep"], line["text"]) == (
        "step",
        None,
        {"a": None, "b": [1.5, None]},
        "ü",
    )


def test_each_line_is_flushed(tmp_path: Path) -> None:
    with EventFile(tmp_path, resumed=False, tensorboard=False) as events:
        for i in range(3):
            events.write("step", step=i)
            assert [line["step"] for line in lines(tmp_path)] == list(range(i + 1))


def test_a_resumed_run_goes_on_after_half_a_line(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "step", "step": 1}\n{"event": "st')
    with EventFile(tmp_path, resumed=True, tensorboard=False) as events:
        events.write("step", step=2)
    text = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(text[0])["step"] == 1
    assert json.loads(text[2])["step"] == 2


def test_a_new_run_begins_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("old\n")
    with EventFile(tmp_path, resumed=False, tensorboard=False) as events:
        events.write("start")
    assert [line["event"] for line in lines(tmp_path)] == ["start"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own dependencies
def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    with EventFile(tmp_path, resumed=False, tensorboard=True) as events:
        events.write("step", step=1, loss=0.5, note="text")
        events.write("evaluate", step=2, metrics={"mrr@10": 0.25})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(s.step, s.value) for s in board.Scalars("step/loss")] == [(1, 0.5)]
    assert [(s.step, s.value) for s in board.Scalars("evaluate/mrr@10")] == [(2, 0.25)]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"nearfar\[tensorboard\]"):
        EventFile(tmp_path, resumed=False, tensorboard=True)


def test_the_error_of_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with (
        files_up_to(100),
        pytest.raises(RunError, match=r"events\.jsonl: cannot be written \(File too large\)"),
        EventFile(tmp_path, resumed=False, tensorboard=False) as events,
    ):
        events.write("step", step=1)
        events.write("step", step=2, text="x" * 1000)
    assert json.loads((tmp_path / "events.jsonl").read_text().splitlines()[0])["step"] == 1
