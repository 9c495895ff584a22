"""Recipes of pictures in two processes: the same views, and the weights, statistics and queue of one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nearfar import config, registry
from nearfar.compute.ranks import Ranks
from nearfar.training.batches import BatchReader
from nearfar.training.fit import fit
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from tests.training.runs import in_ranks
from tests.training.small_picture_recipes import small_settings, state, write_pictures

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")

RECIPES = ["simclr", "moco_v2", "moco_v3", "byol", "simsiam", "nnclr", "swav", "barlow_twins", "vicreg", "supcon"]
ODD: dict[str, Any] = {"batch_size": 13, "steps": 7}  # ranks have 7 and 6 rows; the queue of 40 keys is full and wraps


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def _train(ranks: Ranks, pictures: Path, folder: Path, cache: Path) -> None:
    """Train every recipe in doubles, so that sums in another order differ by less than is asked for."""
    os.environ["NEARFAR_CACHE"] = str(cache)
    for recipe in RECIPES:
        parts = config.build(config.load(recipe, small_settings(recipe, pictures, **ODD)))
        encoder: Any = parts.encoder
        out = folder / f"{recipe} {ranks.world_size}"
        fit(encoder.double(), parts.positives, parts.loss, heads=parts.heads, out=out, quiet=True, **parts.training)
        if ranks.is_first:
            found = {name: value for name, value in state(out).items() if not name.startswith("random/")}
            save_file(found, folder / f"{recipe}-{ranks.world_size}.safetensors")


def test_two_processes_learn_what_one_does(pictures: Path, tmp_path: Path, cache: Path) -> None:
    _train(Ranks(), pictures, tmp_path, cache)
    in_ranks(2, _train, pictures, tmp_path, cache)
    for recipe in RECIPES:
        one, two = (load_file(tmp_path / f"{recipe}-{size}.safetensors") for size in (1, 2))
        assert one.keys() == two.keys()
        assert any("encoder.network" in name and "running_var" in name for name in one)
        assert ("module/queue.vectors" in one) == (recipe in ("moco_v2", "nnclr"))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-6, msg=f"{recipe} {name}: {{}}".format)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_views_do_not_depend_on_the_number_of_ranks(size: int, pictures: Path, cache: Path) -> None:
    parts = config.build(config.load("byol", small_settings("byol", pictures, **ODD)))
    settings = Settings(**registry.coerced_settings(Settings, parts.training, "training"))
    sampler = Sampler.of(parts.positives, settings, None)

    def views(ranks: Ranks, step: int) -> list[Any]:
        batch = BatchReader(parts.positives, {}, sampler, settings, ranks, parts.encoder)(step)
        stacked: Any = batch.momentum
        pixels = np.concatenate([part.numpy() for part in stacked.inputs.parts])
        ends = np.cumsum(list(stacked.sizes.values()))
        return np.split(pixels, ends[:-1])

    drawn = []
    for step in (0, 1, 9):  # of the second pass, too
        shares = [views(Ranks(rank, size), step) for rank in range(size)]
        drawn.append(views(Ranks(), step))
        for view, whole in enumerate(drawn[-1]):
            np.testing.assert_array_equal(np.concatenate([share[view] for share in shares]), whole)
    assert not np.array_equal(drawn[0][0], drawn[2][0])
