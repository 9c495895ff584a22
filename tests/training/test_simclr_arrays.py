"""SimCLR on arrays by a recipe of fifteen lines: it learns, does not collapse, is killed and resumed, runs on ranks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import nearfar as nf
from nearfar.compute.ranks import Ranks
from tests.training.runs import in_ranks, start_process
from tests.training.test_log import lines

RECIPE = Path(__file__).with_name("simclr_arrays.yaml")


def run(folder: Path, **more: Any) -> Any:
    """Train by the recipe; return the experiment."""
    resume = more.pop("resume", False)
    return nf.train(RECIPE, more, out=folder, quiet=True, resume=resume, baselines=())


def state(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a run's last checkpoint."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: path.name)
    return load_file(newest / "state.safetensors")


def test_it_learns_and_never_collapses(tmp_path: Path) -> None:
    assert len([line for line in RECIPE.read_text().splitlines() if line and not line.startswith("#")]) <= 15
    done = run(tmp_path / "run")
    untrained = run(tmp_path / "untrained", **{"training.steps": 1, "training.learning_rate": 1e-12})
    assert done.metrics["mrr@10"] > untrained.metrics["mrr@10"] + 0.1
    measured = [event for event in lines(tmp_path / "run") if event["event"] == "monitor"]
    assert len(measured) >= 3
    assert all(event["random_cosine"] < 0.7 for event in measured)  # of the projected vectors
    assert measured[-1]["effective_rank"] > 3
    assert not [
        event for event in lines(tmp_path / "run") if event["event"] == "warning" and "collaps" in event["message"]
    ]
    drawn = [event["momentum"] for event in lines(tmp_path / "run") if event["event"] == "step"]
    assert (drawn[0], drawn[-1]) == (0.9, 1.0)
    assert done.model.dim == 16  # the projection stays behind
    names = set(state(tmp_path / "run"))
    for kept in ("projection.layers.0.weight", "momentum_projection.layers.0.weight", "momentum.layers.1.running_mean"):
        assert f"module/{kept}" in names
    assert done.facts["heldout labels"]["metrics"]["knn@5"] >= untrained.facts["heldout labels"]["metrics"]["knn@5"]


def _train(folder: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    run(folder, resume=resume)


def test_killed_and_resumed_it_ends_bit_equal(tmp_path: Path) -> None:
    whole = start_process(_train, tmp_path / "whole", False)
    whole.join(120)
    assert whole.exitcode == 0
    process = start_process(_train, tmp_path / "cut", False)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cut" / "checkpoints").glob("*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    resumed = start_process(_train, tmp_path / "cut", True)
    resumed.join(120)
    assert resumed.exitcode == 0
    one, other = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def _in_ranks(ranks: Ranks, folder: Path) -> None:
    run(folder / f"run {ranks.world_size}", **{"training.epochs": 2, "training.batch_size": 30})
    if ranks.is_first:
        found = {
            name: value for name, value in state(folder / f"run {ranks.world_size}").items() if "random" not in name
        }
        save_file(found, folder / f"{ranks.world_size}.safetensors")


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_learn_what_one_process_does(tmp_path: Path, size: int) -> None:
    _in_ranks(Ranks(), tmp_path)
    in_ranks(size, _in_ranks, tmp_path)
    one, several = load_file(tmp_path / "1.safetensors"), load_file(tmp_path / f"{size}.safetensors")
    assert one.keys() == several.keys()
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-6, atol=1e-6, msg=f"{name}: {{}}".format)
