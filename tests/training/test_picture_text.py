"""A tower of pictures and one of texts, trained together: the same after an interruption, and in two processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nearfar as nf
from nearfar import config
from nearfar.compute.ranks import Ranks
from nearfar.sides import prepare_sides
from nearfar.training.fit import fit
from tests.training.captioned_pictures import small_settings, write_captions
from tests.training.runs import in_ranks
from tests.training.small_picture_recipes import differing, state

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_captions(tmp_path / "data")


def _fit(settings: dict[str, Any], out: Path, *, resume: bool = False) -> nf.Run:
    parts = config.build(config.load("clip", settings))
    return fit(parts.encoder, parts.positives, parts.loss, out=out, quiet=True, resume=resume, **parts.training)


def test_after_an_interruption_it_ends_at_the_same_bits_and_bf16_is_close(
    table: Path, tmp_path: Path, cache: Path
) -> None:
    settings = small_settings(table, keep=3)
    whole = _fit(settings, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")  # as it was after its fourth step
    shutil.rmtree(tmp_path / "stopped" / "model")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-000008")
    again = _fit(settings, tmp_path / "stopped", resume=True)
    one, two = state(tmp_path / "whole"), state(tmp_path / "stopped")
    assert {name.split(".")[0] for name in one if name.startswith("module/")} == {"module/encoder", "module/loss"}
    assert differing(one, two) == []
    assert again.model.fingerprint == whole.model.fingerprint

    pictures = [np.full((32, 32, 3), colour, np.uint8) for colour in (0, 90, 255)]
    model = nf.Model.load(again.folder / "model")
    exact = model.embed(pictures, role="query")
    np.testing.assert_allclose(whole.model.embed(pictures, role="query"), exact, atol=1e-6)
    model.bf16 = True
    rounded = model.embed(pictures, role="query")
    assert np.abs(rounded - exact).max() < 1e-2
    assert not np.array_equal(rounded, exact)


def _train(ranks: Ranks, table: Path, folder: Path, cache: Path) -> None:
    """Train in doubles, without dropout, whose masks differ by rank; batches of 13 are 7 and 6 rows."""
    os.environ["NEARFAR_CACHE"] = str(cache)
    settings = small_settings(table, batch_size=13, steps=7, optimizer="sgd", learning_rate=0.1)
    settings |= {
        "encoder.key.of.dropout": 0.0,
        "encoder.query.dropout": 0.0,
        "positives.augment_query": None,
        "training.view_scale": 1,
    }
    parts = config.build(config.load("clip", settings))
    encoder: Any = parts.encoder
    prepare_sides(encoder, parts.positives)
    torch.set_default_dtype(torch.float64)
    out = folder / str(ranks.world_size)
    try:
        fit(encoder.double(), parts.positives, parts.loss, out=out, quiet=True, **parts.training)
    finally:
        torch.set_default_dtype(torch.float32)
    if ranks.is_first:
        found = {name: value for name, value in state(out).items() if not name.startswith("random/")}
        save_file(found, folder / f"{ranks.world_size}.safetensors")


def test_two_processes_learn_what_one_does(table: Path, tmp_path: Path, cache: Path) -> None:
    _train(Ranks(), table, tmp_path, cache)
    in_ranks(2, _train, table, tmp_path, cache)
    one, two = (load_file(tmp_path / f"{size}.safetensors") for size in (1, 2))
    assert one.keys() == two.keys() and "module/loss.scale.log" in one
    assert one["module/loss.scale.log"] != pytest.approx(-np.log(0.07), abs=1e-5)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-6, msg=f"{name}: {{}}".format)
