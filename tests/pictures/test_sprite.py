"""Sprites: each picture at its place, none cut or enlarged, and files that name nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest

from nearfar.pictures.sprite import MOST_BYTES, data_uri, is_sprite_file, png, sprite
from tests.pictures.samples import encoded, noise

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")


def test_tiles_lie_row_after_row_and_what_is_no_picture_is_transparent() -> None:
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (10, 250, 250)]
    pictures = [np.full((16, 16 if i else 8, 3), colour, np.uint8) for i, colour in enumerate(colours)]
    made = sprite(pictures)
    assert made is not None and (made.tile, made.columns, made.rows) == (16, 3, 2)
    image = np.asarray(pillow.open(io.BytesIO(made.data)).convert("RGBA")).astype(int)
    assert image.shape == (32, 48, 4)
    for i, colour in enumerate(colours):
        row, column = divmod(i, 3)
        assert np.abs(image[16 * row + 8, 16 * column + 8, :3] - colour).max() < 40, i  # WebP halves the colours
    assert set(image[:, :3, 3][:16].ravel()) == {0} and image[8, 8, 3] == 255  # the narrow one is in the middle
    assert set(image[16:, 32:, 3].ravel()) == {0}  # there is no sixth


def test_a_large_picture_is_reduced_and_a_small_one_stays() -> None:
    made = sprite([noise(0, 100, 200), noise(1, 10, 10)], most=50)
    assert made is not None and made.tile == 50
    alpha = np.asarray(pillow.open(io.BytesIO(made.data)).convert("RGBA"))[..., 3] > 0
    assert alpha[:, :50].sum() == 25 * 50 and alpha[:, 50:].sum() == 100
    assert sprite([]) is None


def test_a_file_is_named_by_its_content_and_read_only_as_what_it_is() -> None:
    made = sprite([noise(0)])
    assert made is not None
    name = made.file("map")
    assert is_sprite_file(name) and name != sprite([noise(1)]).file("map")  # type: ignore[union-attr]
    for wrong in ("../map-0123456789abcdef.webp", "map-0123456789abcdef.svg", "map.webp", "", None, 3, "a/b"):
        assert not is_sprite_file(wrong), wrong
    uri = data_uri(name, made.data)
    assert uri is not None and uri.startswith(f"data:image/{made.form};base64,")
    assert data_uri(name, b"<svg onload='alert(1)'>") is None
    assert data_uri(name, made.data + b"0" * MOST_BYTES) is None


def test_tiles_shrink_until_a_page_takes_the_file() -> None:
    made = sprite([noise(i, 128, 128) for i in range(400)], most=128)
    assert made is not None and len(made.data) <= MOST_BYTES
    assert 64 <= made.tile < 128 and made.columns * made.rows >= 400


def test_png_is_exact() -> None:
    picture = noise(3)
    assert (np.asarray(pillow.open(io.BytesIO(png(picture)))) == picture).all()
    assert encoded(picture)[:4] == png(picture)[:4]
