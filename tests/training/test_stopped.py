"""Runs in processes of their own that are interrupted by signals, or killed."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.training.checkpoint_files import checkpoint_folders
from tests.training.runs import Slow, exit_code, slow_run, start_process, train, weights
from tests.training.test_log import lines


def wait_for_step(folder: Path, step: int, process: ForkServerProcess) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        text = (folder / "events.jsonl").read_text() if (folder / "events.jsonl").exists() else ""
        if f'"step": {step},' in text:
            return
        time.sleep(0.005)
    raise AssertionError("the run never came to that step")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_leaves_with_130(tmp_path: Path, cache: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    process = start_process(slow_run, folder, cache, {"steps": 1000, "checkpoint_every": 900})
    wait_for_step(folder, 5, process)
    os.kill(process.pid or 0, number)
    assert exit_code(process) == 130
    last = lines(folder)[-1]
    assert (last["event"], last["signal"]) == ("interrupted", number.name)
    assert [place.name for place in checkpoint_folders(folder / "checkpoints")] == [f"step-{last['step']:06d}"]
    error = (tmp_path / "error.txt").read_text()
    assert error == f"stopped by {number.name} at step {last['step']} of 1000; go on with --resume"
    assert not (folder / "model").exists()


def test_a_second_signal_stops_without_a_checkpoint(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    process = start_process(slow_run, folder, cache, {"steps": 1000, "evaluate_every": 1, "patience": 5, "wait": True})
    wait_for_step(folder, 1, process)
    time.sleep(0.1)
    os.kill(process.pid or 0, signal.SIGINT)
    time.sleep(0.1)
    assert process.is_alive()  # it evaluates
    os.kill(process.pid or 0, signal.SIGINT)
    assert exit_code(process) == 1  # of a KeyboardInterrupt, which the command line turns into 130
    assert checkpoint_folders(folder / "checkpoints") == []


def test_killed_at_random_moments_it_ends_at_the_same_weights(tmp_path: Path, cache: Path) -> None:
    settings: dict[str, Any] = {"steps": 60, "checkpoint_every": 3, "keep": 1}
    expected = train(tmp_path / "whole", loss=Slow(), **settings)
    folder, draw = tmp_path / "run", random.Random(0)
    for _ in range(5):
        process = start_process(slow_run, folder, cache, {**settings, "resume": True})
        reached = max((int(place.name[5:]) for place in checkpoint_folders(folder / "checkpoints")), default=0)
        if reached < 60:
            wait_for_step(folder, min(reached + draw.randrange(1, 14), 60), process)
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
    starts = (folder / "events.jsonl").read_text().count('"event": "start"')
    assert starts >= 4  # most were killed before their end
    process = start_process(slow_run, folder, cache, {**settings, "resume": True})
    assert exit_code(process) == 0
    found = load_file(folder / "model" / MODULE_FOLDER / "model.safetensors")["embedding.weight"]
    assert np.array_equal(found, weights(expected))
    assert [place.name for place in checkpoint_folders(folder / "checkpoints")] == ["step-000060"]
    assert not list((folder / "checkpoints").glob(".*"))
