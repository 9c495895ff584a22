"""Runs of the recipes of pictures that are killed and resumed: views, heads, queue, copies, statistics bit-equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.training.runs import kill_after, start_process
from tests.training.small_picture_recipes import differing, state, train, write_pictures

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")

# What each recipe's checkpoint must hold beside the encoder and its optimiser.
HELD = {
    "moco_v2": ["queue.vectors", "momentum_projection.layers.1.running_mean"],
    "moco_v3": ["prediction.layers.1.running_var", "momentum_projection.layers.0.weight"],
    "byol": ["prediction.layers.0.weight", "momentum_projection.layers.1.running_mean"],
    "nnclr": ["queue.vectors", "prediction.layers.1.running_mean"],
    "swav": ["loss.prototypes", "projection.layers.1.running_mean"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def _train(recipe: str, pictures: Path, out: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    torch.set_num_threads(1)
    train(recipe, pictures, out)


def killed(recipe: str, pictures: Path, out: Path, cache: Path, at: int) -> None:
    """Train in a process of its own, which is killed after so many steps."""
    kill_after(start_process(_train, recipe, pictures, out, cache), out, at)


@pytest.mark.parametrize("recipe", HELD)
def test_killed_and_resumed_it_ends_bit_equal(recipe: str, pictures: Path, tmp_path: Path, cache: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe, pictures, whole)
    killed(recipe, pictures, cut, cache, at=5 + int.from_bytes(os.urandom(1)) % 8)
    train(recipe, pictures, cut, resume=True)
    expected, found = state(whole), state(cut)
    copies = ["momentum.network.network.2.0.weight"] * (recipe in ("moco_v2", "moco_v3", "byol"))
    statistics = ["encoder.network.network.1.1.running_var"]
    assert {f"module/{name}" for name in [*HELD[recipe], *copies, *statistics]} <= expected.keys()
    assert differing(expected, found) == []
    shipped = [path.name for path in (whole / "model").rglob("*.safetensors")]
    assert shipped
    for name in shipped:
        assert (whole / "model" / name).read_bytes() == (cut / "model" / name).read_bytes()
