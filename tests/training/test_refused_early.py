"""Settings that cannot hold together are refused before any data is read, not when the run comes to them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nearfar.augmentations.image import ImageAugmentation
from nearfar.augmentations.text_crop import TextCrop
from nearfar.encoders.dual import Dual
from nearfar.encoders.image import Image
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.training.fit import fit
from tests.pictures.samples import noise
from tests.training.denoising import Denoising
from tests.training.runs import SETTINGS, Rows, rows


class Unread(Static):
    """An encoder that must not see a column."""

    def prepare(self, columns: Any) -> None:
        raise AssertionError(f"{[column.name for column in columns]} were read")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"evaluate_every": 2, "patience": 1}, "training.patience counts evaluations, and nothing is evaluated"),
        ({"tensorboard": True}, r"training.tensorboard needs an extra: pip install 'nearfar\[tensorboard\]'"),
        ({"loss": None, "validation": 0.2}, "training.validation ranks keys, and an objective alone has none"),
    ],
)
def test_settings_that_cannot_hold_are_refused_before_anything_is_read(
    tmp_path: Path, more: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where the extra is not installed
    alone = {"objective": Denoising(SimpleNamespace(dim=16, dtype=torch.float32))} if "loss" in more else {}
    given = {"loss": InfoNCE(), **SETTINGS, **alone, **more}
    with pytest.raises(InputError, match=words):
        fit(Unread(dim=16, vocabulary=300), Columns(rows()), out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"augment_key": ImageAugmentation()},
            "view 'key' .* is text, and augmentations.image changes image; ",
        ),
        ({"augment_query": TextCrop()}, "view 'query' .* is image, and augmentations.text_crop changes text"),
        ({"query": "caption", "key": "image"}, "view 'query' .* is text, and encoder.query reads image"),
    ],
)
def test_cells_that_are_not_read_are_refused_before_anything_is_read(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    pictures = Rows(image=[noise(i) for i in range(20)], caption=[f"picture {i}" for i in range(20)])
    network = Image("small", size=32)
    encoder = Dual(network, Unread(dim=network.dim, vocabulary=300))
    given: dict[str, Any] = {"query": "image", "key": "caption", **more}
    with pytest.raises(InputError, match=words):
        fit(encoder, Columns(pictures, **given), InfoNCE(), out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_an_average_of_a_tower_that_learns_nothing_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    pairs = Columns(Rows(query=[noise(i) for i in range(20)], key=[noise(i) for i in range(20, 40)]))
    encoder = Dual(Image("small", size=32), Image("small", size=32))
    given: dict[str, Any] = {**SETTINGS, "keys": "momentum", "momentum": 0.9}
    with pytest.raises(InputError, match=r"training\.keys=momentum: keys come from the average"):
        fit(encoder, pairs, InfoNCE(), out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
