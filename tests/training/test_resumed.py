"""Runs that are resumed for more epochs than they had, and the seconds of all their parts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.training.checkpoint_files import read_checkpoint, write_checkpoint
from tests.training.runs import train, weights
from tests.training.test_log import lines

CONSTANT: dict[str, Any] = {"steps": None, "schedule": "constant", "weight_decay": 0.01}


@pytest.mark.parametrize(
    ("before", "now"),
    [({"epochs": 3}, {"epochs": 6}), ({"epochs": 1.5}, {"epochs": 2.25}), ({"steps": 5}, {"steps": 11})],
)
def test_under_a_constant_schedule_a_run_may_go_on_for_longer(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any]
) -> None:
    whole = train(tmp_path / "whole", **CONSTANT | now)
    train(tmp_path / "run", **CONSTANT | before)
    longer = train(tmp_path / "run", resume=True, **CONSTANT | now)
    assert np.array_equal(weights(longer), weights(whole))
    losses = {
        name: {event["step"]: event["loss"] for event in lines(tmp_path / name) if event["event"] == "step"}
        for name in ("whole", "run")
    }
    assert losses["run"] == losses["whole"]


@pytest.mark.parametrize(
    "more",
    [
        {"schedule": "linear"},
        {"schedule": "cosine"},
        {"warmup": 0.1},
        {"weight_decay": Scheduled(0.0, 0.1)},
        {"loss": InfoNCE(temperature=Scheduled(0.2, 0.05))},
    ],
    ids=str,
)
def test_a_run_whose_steps_depend_on_its_length_says_where_to_start(tmp_path: Path, more: dict[str, Any]) -> None:
    settings = {**CONSTANT, **more}
    train(tmp_path / "run", **settings, epochs=1)
    with pytest.raises(InputError, match=r"training\.epochs was 1\.0 and is 2.*encoder\.model=\S+run/model") as refused:
        train(tmp_path / "run", resume=True, **settings, epochs=2)
    assert "constant schedule without warmup" in str(refused.value)


@pytest.mark.parametrize(
    ("now", "name"), [({"epochs": 1}, "training.epochs was 2.0 and is 1"), ({"steps": 9}, "training.steps was None")]
)
def test_shorter_or_counted_otherwise_is_another_run(tmp_path: Path, now: dict[str, Any], name: str) -> None:
    train(tmp_path / "run", **CONSTANT, epochs=2)
    with pytest.raises(InputError, match=f"cannot resume, {name}.*give the same"):
        train(tmp_path / "run", resume=True, **{**CONSTANT, "epochs": 2, **now})


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_parts(tmp_path: Path) -> None:
    first = train(tmp_path / "run", **CONSTANT, epochs=1)
    place = tmp_path / "run" / "checkpoints" / "step-000004"
    kept = read_checkpoint(place)
    assert 0 < kept.state["memory"]["seconds"] <= first.seconds
    assert first.seconds_before == 0
    kept.state["memory"]["seconds"] = 5000.0  # a long part
    write_checkpoint(place.parent, replace(kept))
    began = time.perf_counter()
    second = train(tmp_path / "run", resume=True, **CONSTANT, epochs=2)
    own = time.perf_counter() - began
    assert second.seconds_before == 5000
    assert 5000 < second.seconds <= 5000 + own
    assert lines(tmp_path / "run")[-1]["seconds"] == pytest.approx(second.seconds, abs=1e-3)
    assert second.train_pairs_per_second >= 64 / own  # of the 64 pairs of its own part, in the seconds of that part
    third = train(tmp_path / "run", resume=True, **CONSTANT, epochs=3)
    assert second.seconds_before < third.seconds_before <= second.seconds  # with the second part
    assert third.seconds > third.seconds_before
