"""A thumbnail is the picture, small and upright, and holds nothing of the file but pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL", reason="the extra images is not installed")

from PIL import Image

from nearfar.pictures import thumbnail as module
from nearfar.pictures.decode import decoded
from nearfar.pictures.thumbnail import SIDE, thumbnail
from tests.pictures.samples import encoded, noise, turned

PLACE, OWNER, SECRET = 0x8825, 0xA430, "Somewhere Secret"


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(data))


def test_it_is_smaller_and_of_the_same_shape() -> None:
    picture = noise(1, 60, 80).repeat(10, 0).repeat(10, 1)
    small = opened(thumbnail(picture))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (SIDE, SIDE * 3 // 4))
    expected = np.asarray(Image.fromarray(picture).resize(small.size, Image.Resampling.BILINEAR), float)
    assert np.abs(np.asarray(small, float) - expected).mean() < 12


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_none_is_enlarged_and_each_has_a_pixel(height: int, width: int) -> None:
    longest = max(height, width)
    scale = min(1.0, SIDE / longest)
    small = opened(thumbnail(noise(2, height, width)))
    assert small.size == (max(1, round(width * scale)), max(1, round(height * scale)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_comes_out_upright(orientation: int) -> None:
    """As stored its red corner is at the top left; how the camera was held says where that is seen."""
    small = np.asarray(opened(thumbnail(decoded(turned(orientation)))), int)
    red = (small[..., 0] > 150) & (small[..., 1] < 100)
    rows, columns = red.nonzero()
    height, width = red.shape
    assert (height > width) == (orientation >= 5)
    at_bottom, at_right = rows.mean() > height / 2, columns.mean() > width / 2
    assert at_bottom == (orientation in (3, 4, 7, 8))
    assert at_right == (orientation in (2, 3, 6, 7))


def test_no_metadata_is_left() -> None:
    exif = Image.Exif()
    exif[OWNER] = exif[0x010E] = SECRET
    exif.get_ifd(PLACE)[2] = (48.0, 51.0, 29.0)
    given = encoded(noise(3, 300, 400), "JPEG", exif=exif, comment=SECRET.encode(), icc_profile=SECRET.encode())
    assert given.count(SECRET.encode()) >= 3
    data = thumbnail(decoded(given, 256))
    small = opened(data)
    assert data is not None and SECRET.encode() not in data and b"Exif" not in data
    assert not small.getexif() and set(small.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "cell",
    ["a text", None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
    ids=["text", "nothing", "grey", "floats", "empty"],
)
def test_what_is_no_picture_has_none(cell: object) -> None:
    assert thumbnail(cell) is None


def test_without_the_extra_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert thumbnail(noise()) is None
