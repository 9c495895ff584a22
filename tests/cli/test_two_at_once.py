"""Two commands that write to one place: the second is refused, and the first one's work stays whole."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from nearfar.reports.course import course_of
from nearfar.storage.locks import beside, inside
from tests.cli.calling import Run
from tests.cli.conftest import SMALL
from tests.cli.test_bad_runs import NEARFAR, TRAIN, own_loss
from tests.storage.test_locks import holder

COMMANDS = {
    "out/v.npy": ["embed", "model", "pairs.jsonl", "--out", "out/v.npy"],
    "out/mined.jsonl": ["mine", "model", "pairs.jsonl", "--out", "out/mined.jsonl"],
    "out/review.html": ["mine", "model", "pairs.jsonl", "--out", "out/mined.jsonl", "--review", "out/review.html"],
    "out/page.html": ["audit", "pairs.jsonl", "--out", "out/page.html"],
    "out/clean": ["audit", "pairs.jsonl", "--out", "out/page.html", "--fix", "out/clean"],
    "out/onnx": ["export", "model", "--onnx", "out/onnx"],
    "out/report.json": ["evaluate", "model", "pairs.jsonl", "--out", "out/report.json"],
}
FOLDERS = {
    "run": TRAIN,
    "runs/latest": ["train", "static", "data.path=pairs.jsonl"],
    "tuned": ["train", "finetune", "encoder.model=model", "data.path=pairs.jsonl", "--out", "tuned"],
    "adapted": ["train", "adapt", "data.path=pairs.jsonl", "--out", "adapted"],
    "runs/demo": ["demo"],
    "lab": ["lab", "temperature", "model", "pairs.jsonl", "--out", "lab"],
}


@pytest.mark.parametrize("place", [*COMMANDS, *FOLDERS])
def test_a_place_that_another_process_writes_is_refused(place: str, here: Path, nearfar: Run) -> None:
    lock = beside(Path(place)) if place in COMMANDS else inside(Path(place))
    with holder(Path(place), lock) as process:
        before = sorted(here.glob("**/*"))
        said = [f"{place}: process {process.pid} on {os.uname().nodename} has been writing here since ", "wait until"]
        nearfar(*(COMMANDS | FOLDERS)[place]).refused(*said)
        assert sorted(here.glob("**/*")) == before  # what it held until then, it has let go


@pytest.mark.slow
def test_a_run_refuses_all_others_until_it_ends(run_here: Path, nearfar: Run) -> None:
    """In the middle of a run, another process tries to write into its folder, and into another one."""
    shutil.rmtree(run_here / "run")
    words = [str(NEARFAR), *TRAIN[:3], *SMALL]
    tries = {
        "new": [*words, "--out", "run"],
        "resumed": [*words, "--out", "run", "--resume"],
        "replacing": [*words, "--out", "run", "--overwrite"],
        "beside": [*words, "--out", "beside"],
    }
    body = (
        f"import subprocess, json; done = {{name: subprocess.run(words, capture_output=True, text=True) "
        f"for name, words in {tries!r}.items()}}; json.dump({{name: [one.returncode, one.stderr] "
        "for name, one in done.items()}, open('said.json', 'w'))"
    )
    done = nearfar(*TRAIN, own_loss(run_here, body), "--json")
    assert done.code == 0, done.err
    said = json.loads((run_here / "said.json").read_text())
    assert {name: code for name, (code, _) in said.items()} == {"new": 2, "resumed": 2, "replacing": 2, "beside": 0}
    for name in ("new", "resumed", "replacing"):
        assert said[name][1].startswith(f"nearfar: run: process {os.getpid()} on ")
        assert said[name][1].count("\n") == 1
    for name in ("run", "beside"):
        assert sorted(path.name for path in (run_here / name).iterdir() if path.name.startswith(".")) == []
        assert (run_here / name / "model" / "nearfar.json").is_file()


def test_a_clock_that_jumps_back(here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is an hour before the last one; what is measured comes from another clock."""
    now = time.time()

    def back() -> float:
        nonlocal now
        now -= 3600
        return now

    monkeypatch.setattr(time, "time", back)
    done = nearfar(*TRAIN, "training.checkpoint_every=2", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["seconds"] > 0 and facts["train_pairs_per_second"] > 0
    events = [json.loads(line) for line in (here / "run" / "events.jsonl").read_text().splitlines()]
    times = [event["time"] for event in events]
    assert times == sorted(times, reverse=True)  # as the clock said
    assert all(value >= 0 for event in events for key, value in event.items() if "seconds" in key)
    assert course_of(events)["ended"]
    assert nearfar("report", "run").code == 0
    done = nearfar("mine", "model", "pairs.jsonl", "--out", "mined.jsonl", "--json")
    assert json.loads(done.out)["seconds"] > 0
    assert nearfar(*TRAIN, "training.checkpoint_every=2", "--resume").code == 0
