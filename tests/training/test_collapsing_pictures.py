"""Recipes of pictures that collapse set off the alarm within 100 steps; as they ship, they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.small_picture_recipes import train, write_pictures
from tests.training.test_log import lines

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")

# `cosine_regression` stops the gradient itself. The alignment of `alignment_uniformity` alone is the same loss without.
BOTH_SIDES_LEARN: dict[str, Any] = {
    "loss.name": "alignment_uniformity",
    "loss.weight": 0.0,
    "training.keys": "same",
    "training.momentum": 0.0,
}
COLLAPSING = {
    "simsiam without stop-gradient": ("simsiam", BOTH_SIDES_LEARN),
    "byol without stop-gradient and running average": ("byol", BOTH_SIDES_LEARN),
    "simclr at a learning rate far too high": (
        "simclr",
        {"training.learning_rate": 3.0, "training.optimizer": "adamw"},  # Muon's steps are orthogonal: none collapses
    ),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 160)


def alarms(recipe: str, pictures: Path, out: Path, changes: dict[str, Any]) -> list[int]:
    """Train 100 steps; return the steps at which the alarm was raised."""
    train(recipe, pictures, out, changes=changes, steps=100, batch_size=32, checkpoint_every=100)
    warned = [event for event in lines(out) if event["event"] == "warning"]
    return [event["step"] for event in warned if "the space is collapsing" in event["message"]]


@pytest.mark.parametrize("name", COLLAPSING)
def test_a_collapsing_run_sets_off_the_alarm_within_100_steps(name: str, pictures: Path, tmp_path: Path) -> None:
    recipe, changes = COLLAPSING[name]
    steps = alarms(recipe, pictures, tmp_path / "run", changes)
    assert len(steps) == 1 and steps[0] < 100


@pytest.mark.parametrize("recipe", ["simsiam", "byol", "simclr"])
def test_as_they_ship_they_do_not(recipe: str, pictures: Path, tmp_path: Path) -> None:
    assert alarms(recipe, pictures, tmp_path / "run", {}) == []
