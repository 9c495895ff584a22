"""The encoder of pictures in training: views of its size, one process or several, bf16, the same after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.compute.ranks import Ranks
from nearfar.encoders.image import Image
from nearfar.encoders.projected import Projected
from nearfar.heads.mlp import Mlp
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.views import Views
from nearfar.training.augment import augment
from nearfar.training.fit import fit
from tests.training.runs import Rows, in_ranks

pytest.importorskip("timm", reason="the extra images is not installed")
TINY: dict[str, Any] = {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "feature_dim": 16}
NETWORKS: dict[str, dict[str, Any]] = {  # batch norm of torch, and timm's with its activation
    "fasternet_t0": {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "feature_dim": 16, "drop_path_rate": 0.0},
    "mobilenetv2_035": {},
}
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.05, "device": "cpu", "batch_size": 9, "steps": 4}
TWO = [{"name": "image", "times": 2}]


def pictures(n: int = 24, side: int = 32) -> Rows:
    return Rows(image=list(np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)))


def views(encoder: Any, side: int = 32) -> Views:
    return Views(pictures(side=side), views=TWO, encoder=encoder)


def test_views_without_a_size_have_the_encoder_s_in_training_and_in_tasks() -> None:
    inner = Image("fasternet_t0", model_args=TINY)
    encoder = Projected(inner, Mlp(dim=inner.dim, sizes=[4]))
    positives = views(encoder, side=80)
    task = positives.task("heldout")
    encoder.prepare([positives.views["view"]])
    assert inner.picture_size() == 64
    rows = np.arange(5)
    inputs: Any = augment(positives, encoder, "view", rows, np.stack([rows, rows, rows], 1))
    assert [part.shape for part in inputs.parts] == [(5, 64, 64, 3)]
    assert {cell.shape for cell in task.queries.read(0, 5)} == {(64, 64, 3)}
    assert {cell.shape for cell in task.documents.read(0, 5)} == {(80, 80, 3)}
    without: Any = Views(pictures(side=80), views=TWO)
    inputs = augment(without, encoder, "view", rows, np.stack([rows, rows, rows], 1))
    assert [part.shape for part in inputs.parts] == [(5, 64, 64, 3)]


def train(folder: Path, name: str, **more: Any) -> dict[str, Tensor]:
    """Train a network of doubles; return its weights and statistics."""
    encoder = Image(name, model_args=NETWORKS[name], size=32).double()
    fit(encoder, views(encoder), InfoNCE(), out=folder, quiet=True, **{**SGD, "precision": "fp32", **more})
    return {name: value.detach().clone().contiguous() for name, value in encoder.state_dict().items()}


def _in_ranks(ranks: Ranks, folder: Path) -> None:
    torch.set_num_threads(1)
    for name in NETWORKS:
        found = train(folder / f"{name} {ranks.world_size}", name)
        for value in found.values():
            assert all(torch.equal(value, other) for other in ranks.all_gather(value))
        if ranks.is_first:
            save_file(found, folder / f"{name}-{ranks.world_size}.safetensors")


def test_two_ranks_learn_what_one_does(tmp_path: Path) -> None:
    _in_ranks(Ranks(), tmp_path)
    in_ranks(2, _in_ranks, tmp_path)
    for name in NETWORKS:
        one, two = (load_file(tmp_path / f"{name}-{size}.safetensors") for size in (1, 2))
        assert one.keys() == two.keys() and any("running_var" in key for key in one)
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-6, atol=1e-6, msg=f"{key}: {{}}".format)


def test_micro_batches_are_refused_because_of_batch_norm(tmp_path: Path) -> None:
    with pytest.raises(nf.errors.InputError, match=r"micro_batch: image has batch statistics in network\."):
        train(tmp_path / "run", "fasternet_t0", micro_batch=4)


def test_in_bf16_weights_and_statistics_stay_exact(tmp_path: Path) -> None:
    encoder = Image("fasternet_t0", model_args=TINY, size=32)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    kinds = set()
    encoder.network.register_forward_hook(lambda _m, _i, out: kinds.add(out.dtype))
    fit(encoder, views(encoder), InfoNCE(), out=tmp_path / "run", quiet=True, **SGD, precision="bf16")
    assert torch.bfloat16 in kinds
    for name, value in encoder.state_dict().items():
        assert value.dtype == before[name].dtype and bool(value.isfinite().all())
    assert not torch.equal(
        encoder.state_dict()["network.network.conv_head.weight"], before["network.network.conv_head.weight"]
    )


def test_a_run_ships_what_it_trained_and_judges_it(tmp_path: Path) -> None:
    encoder = Image("fasternet_t0", model_args=TINY)
    run = fit(encoder, views(encoder, side=40), InfoNCE(), out=tmp_path / "run", quiet=True, **SGD, precision="fp32")
    assert encoder.picture_size() == 32
    again = nf.Model.load(tmp_path / "run" / "model")
    cells = ListColumn("image", pictures().cells["image"]).read(0, 3)
    np.testing.assert_array_equal(again.embed(cells), run.model.embed(cells))
    found = nf.evaluate(again, views(encoder, side=40).task("heldout")).metrics
    assert 0 <= found["mrr@10"] <= 1
