"""The views that are shown are those that training gives to the network, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.encoders.image import Image
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.views import Views
from nearfar.training import online_knn
from nearfar.training.fit import fit
from nearfar.training.seen_views import seen_views
from tests.training.runs import Rows
from tests.training.small_pictures import Pictures, Shifted, SmallConvolution

TINY: dict[str, Any] = {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "feature_dim": 16}
SETTINGS: dict[str, Any] = {"batch_size": 6, "device": "cpu", "seed": 5, "precision": "fp32"}


def parts(side: int = 40) -> tuple[Any, Views]:
    pytest.importorskip("timm", reason="the extra images is not installed")
    pictures = list(np.random.default_rng(0).integers(0, 256, (15, side, side, 3), np.uint8))
    encoder = Image("fasternet_t0", model_args=TINY, size=32)
    return encoder, Views(Rows(image=pictures), views=[{"name": "image", "times": 2}], encoder=encoder)


def test_they_are_what_the_network_gets_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, positives = parts()
    shown = seen_views(encoder, positives, most=6, in_epochs=(0, 1), **SETTINGS)
    got: list[torch.Tensor] = []
    forward = Image.forward

    def spied(self: Any, inputs: Any) -> Any:
        got.extend(part.clone() for part in inputs.parts)
        return forward(self, inputs)

    monkeypatch.setattr(Image, "forward", spied)
    fit(encoder, positives, InfoNCE(), out=tmp_path / "run", quiet=True, steps=3, **SETTINGS)
    first = got[0].numpy()  # (12, 32, 32, 3): the first view of six examples, then the second
    for i, one in enumerate(shown):
        assert [view.epoch for view in one.views] == [0, 0, 1, 1]
        assert (one.views[0].cell == first[i]).all()
        assert (one.views[1].cell == first[6 + i]).all()
        assert (one.views[0].source == positives.views["view"].read(one.example, one.example + 1)[0]).all()
    later = {view.cell.tobytes() for one in shown for view in one.views if view.epoch == 1}
    batches = {picture.tobytes() for part in got[1:] for picture in part.numpy()}
    assert later & batches  # examples of the first batch come again in the second epoch, changed so


def test_most_limits_and_a_batch_larger_than_the_data_shows_each_once() -> None:
    encoder, positives = parts()
    assert len(seen_views(encoder, positives, most=4, **SETTINGS)) == 4
    shown = seen_views(encoder, positives, most=99, **{**SETTINGS, "batch_size": 64})
    assert sorted(one.example for one in shown) == list(range(15))
    assert all(one.row == one.example + 1 for one in shown)


def test_views_that_nothing_changes_are_the_cells_themselves() -> None:
    rows = nf.data.Table([{"query": f"where is {i}", "key": f"{i} is here"} for i in range(12)])
    encoder = nf.encoders.Static(dim=8, vocabulary=300)
    shown = seen_views(encoder, Columns(rows), most=3, **SETTINGS)
    for one in shown:
        assert [view.cell for view in one.views] == [f"where is {one.example}", f"{one.example} is here"]
        assert {view.source for view in one.views} == {None}


def test_they_are_of_the_first_batch_also_where_pictures_are_kept_back_for_knn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online_knn, "SHARE", 0.2)
    monkeypatch.setattr(online_knn, "FEWEST", 10)
    encoder, positives = SmallConvolution(), Views(Pictures(), views=[{"augmentation": Shifted(), "times": 2}])
    settings = {**SETTINGS, "batch_size": 32}
    shown = seen_views(encoder, positives, most=99, **settings)
    trained: list[np.ndarray[Any, Any]] = []
    batch = positives.batch

    def noted(examples: np.ndarray[Any, Any], queued: np.ndarray[Any, Any] | None = None) -> Any:
        trained.append(examples)
        return batch(examples, queued)

    monkeypatch.setattr(positives, "batch", noted)
    run = fit(encoder, positives, InfoNCE(), out=tmp_path / "run", quiet=True, steps=1, **settings)
    assert run.online["queries"] > 10
    assert [one.example for one in shown] == trained[0].tolist()
