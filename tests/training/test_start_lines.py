"""What a run of pictures says of its choices when it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nearfar.abilities import said_by
from nearfar.augmentations.image import ImageAugmentation
from nearfar.encoders.image import Image
from tests.training.small_picture_recipes import train, write_pictures
from tests.training.test_log import lines

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"model": "resnet18", "size": 32},
            "stem: 3 x 3 without stride and without pooling, because pictures have 32 px",
        ),
        ({"model": "resnet18", "size": 96}, "stem: 7 x 7 with stride 2, which is resnet18's own; pictures have 96 px"),
        (
            {"model": "resnet18", "size": 96, "stem": "small"},
            "stem: 3 x 3 without stride and without pooling, as encoder.stem says",
        ),
        ({"size": 32}, "stem: 3 x 3 with stride 2, which is small's own; pictures have 32 px"),
    ],
)
def test_an_encoder_says_its_stem(settings: dict[str, Any], line: str) -> None:
    assert said_by(Image(**settings)) == [line]


def test_an_augmentation_says_what_small_pictures_change_less() -> None:
    both = "blur is off and colours change half as much, because they have 64 px"
    assert said_by(ImageAugmentation(), 64) == [both]
    assert said_by(ImageAugmentation(size=64), 224) == [both]
    assert said_by(ImageAugmentation(), 65) == said_by(ImageAugmentation()) == []
    assert said_by(ImageAugmentation(blur=0.1), 32) == ["colours change half as much, because they have 32 px"]
    assert said_by(ImageAugmentation(blur=0.1, strength=1), 32) == []
    assert said_by(ImageAugmentation("handwriting"), 32) == []  # which neither blurs nor colours
    assert said_by(ImageAugmentation("dino_local"), 112) == [both.replace("64", "48")]


def test_a_run_says_it_once_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    train("simclr", pictures, tmp_path / "run", steps=1)
    said = [event["message"] for event in lines(tmp_path / "run") if event["event"] == "said"]
    stem = "stem: 3 x 3 with stride 2, which is small's own; pictures have 32 px"
    assert said[0] == stem and len(said) == 3 and said[2].startswith("no kNN while training: ")
    assert said[1].startswith("augmentation of ")
    assert said[1].endswith(": blur is off and colours change half as much, because they have 32 px")
    shown = capsys.readouterr().err
    assert all(shown.count(line) == 1 for line in said)
    train("byol", pictures, tmp_path / "byol", steps=1)
    said = [event["message"] for event in lines(tmp_path / "byol") if event["event"] == "said"]
    assert [line.rpartition(": ")[2].startswith("blur is off") for line in said] == [False, True, False, False]
