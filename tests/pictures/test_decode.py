"""Decoding: each kind of picture as it is meant, and each bad one refused by what is wrong with it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import InputError
from nearfar.pictures import decode
from nearfar.pictures.decode import BadPictureError, decoded, size_of
from tests.pictures.samples import encoded, jpeg_of_size, noise, png, turned

RGB = noise()
GREY = RGB[..., 0]
WIDE = (GREY.astype(np.uint16) * 257) ^ 3  # 16 bits, within rounding of the 8


def palette(**settings: Any) -> bytes:
    image = Image.fromarray(RGB // 128 * 255).convert("P", palette=Image.Palette.ADAPTIVE)
    return encoded(image, "GIF", **settings)


def half(form: str, colour: tuple[int, int, int], alpha: int, **settings: Any) -> bytes:
    """Return a picture of one colour, as far from transparent as alpha says."""
    return encoded(np.full((6, 8, 4), (*colour, alpha), np.uint8), form, **settings)


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:])


def transparent_index() -> bytes:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    return encoded(image, transparency=0)


GOOD: dict[str, tuple[Callable[[], bytes], Any, float]] = {  # the file, what it shows, how far a value may be off
    "png": (lambda: encoded(RGB), RGB, 0),
    "grey png": (lambda: encoded(GREY), GREY[..., None].repeat(3, 2), 0),
    "1-bit png": (lambda: encoded(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)), None, 0),
    "16-bit grey png": (lambda: encoded(WIDE), GREY[..., None].repeat(3, 2), 0),
    "16-bit grey png, transparent": (
        lambda: encoded(Image.fromarray(np.full((6, 8), 9 * 257, np.uint16)), transparency=9 * 257),
        (255, 255, 255),
        0,
    ),
    "16-bit grey tiff": (lambda: encoded(WIDE, "TIFF"), GREY[..., None].repeat(3, 2), 0),
    "16-bit colour png": (
        lambda: png(2, 2, bits=16, rows=(b"\0" + b"\xff\xff\0\0\x80\x80" * 2) * 2),
        (255, 0, 128),
        0,
    ),
    "palette gif": (palette, RGB // 128 * 255, 0),
    "palette png": (lambda: encoded(Image.open(io.BytesIO(palette()))), RGB // 128 * 255, 0),
    "transparent palette": (transparent_index, (255, 255, 255), 0),
    "alpha png": (lambda: half("PNG", (255, 0, 0), 102), (255, 153, 153), 1),
    "alpha webp": (lambda: half("WEBP", (255, 0, 0), 0, lossless=True), (255, 255, 255), 0),
    "grey alpha": (lambda: encoded(Image.new("LA", (8, 6), (0, 51))), (204, 204, 204), 1),
    "transparent colour": (lambda: encoded(Image.new("RGB", (8, 6), (9, 8, 7)), transparency=(9, 8, 7)), (255,) * 3, 0),
    "cmyk jpeg": (lambda: encoded(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0), 8),
    "cmyk tiff": (lambda: encoded(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), 0),
    "grey jpeg": (lambda: encoded(GREY, "JPEG", quality=95), GREY[..., None].repeat(3, 2), 60),
    "progressive jpeg": (lambda: encoded(RGB, "JPEG", progressive=True, quality=95), None, 0),
    "animated gif": (lambda: animated("GIF"), (255, 0, 0), 0),
    "animated webp": (lambda: animated("WEBP"), (255, 0, 0), 10),
    "animated png": (lambda: animated("PNG"), (255, 0, 0), 0),
    "pages of tiff": (lambda: animated("TIFF"), (255, 0, 0), 0),
    "bmp": (lambda: encoded(RGB, "BMP"), RGB, 0),
    "ppm": (lambda: encoded(RGB, "PPM"), RGB, 0),
    "16-bit pgm": (lambda: b"P5 2 2 65535\n" + b"\xff\xff\0\0\x80\x80\x01\x01", None, 0),
    "jpeg with text behind it": (lambda: encoded(RGB, "JPEG") + b"and more", None, 0),
}


@pytest.mark.parametrize("name", GOOD)
def test_each_kind_of_picture_is_read_as_it_is_meant(name: str) -> None:
    make, expected, off = GOOD[name]
    picture = decoded(make())
    assert (str(picture.dtype), picture.ndim, picture.shape[2]) == ("uint8", 3, 3)
    if expected is not None:
        wanted = np.broadcast_to(np.array(expected), picture.shape)
        assert np.abs(picture.astype(int) - wanted).max() <= off


def test_sixteen_bits_are_rounded() -> None:
    assert decoded(GOOD["16-bit pgm"][0]())[..., 0].tolist() == [[255, 0], [128, 1]]


@pytest.mark.parametrize("side", [None, 8])
def test_jpeg_has_the_pixels_of_pillow(side: int | None) -> None:
    data = encoded(noise(3, 64, 48), "JPEG", quality=85)
    if side is None:
        assert np.array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))
    assert decoded(data, side).shape == ((64, 48, 3) if side is None else (11, 8, 3))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_the_camera_was_held(orientation: int, form: str) -> None:
    picture = decoded(turned(orientation, form))
    red = (picture[..., 0] > 128) & (picture[..., 1] < 128)
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    assert picture.shape == ((32, 64, 3) if orientation < 5 else (64, 32, 3))
    h, w = red.shape
    quarters = {"tl": red[: h // 2, : w // 2], "tr": red[: h // 2, w // 2 :]}
    quarters |= {"bl": red[h // 2 :, : w // 2], "br": red[h // 2 :, w // 2 :]}
    assert max(quarters, key=lambda name: quarters[name].mean()) == corner


def test_a_large_photograph_is_reduced_and_close_to_the_whole_one_reduced() -> None:
    photograph = noise(4, 700, 900)
    whole = np.asarray(Image.fromarray(photograph).resize((82, 64), Image.Resampling.BILINEAR), int)
    for form, off in (("PNG", 2), ("JPEG", 12)):
        small = decoded(encoded(photograph, form), 64)
        assert small.shape == (64, 82, 3)
        assert np.abs(small.astype(int) - whole).mean() < off
    assert decoded(encoded(noise(4, 40, 50)), 64).shape == (40, 50, 3)  # never enlarged


def pillow_bytes(form: str, cut: float) -> bytes:
    data = encoded(noise(5, 200, 200), form)
    return data[: int(len(data) * cut)]


def floats() -> bytes:
    return encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "no byte": (lambda: b"", "the file is empty"),
    "a text": (lambda: b"not a picture at all", "is no picture of a format that is read"),
    "a web page": (lambda: b"<html><body>404 not found</body></html>", "is no picture of a format"),
    "a drawing of lines": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is no picture of a format"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture of a format"),
    "zeros": (lambda: bytes(1000), "is no picture of a format"),
    "1 x 1": (lambda: encoded(RGB[:1, :1]), "is 1 x 1 pixels, the least side is 2"),
    "1 x 1 jpeg": (lambda: encoded(RGB[:1, :1], "JPEG"), "is 1 x 1 pixels"),
    "1 x 1 gif": (lambda: encoded(RGB[:1, :1], "GIF"), "is 1 x 1 pixels"),
    "a line": (lambda: encoded(RGB[:1]), "is 30 x 1 pixels"),
    "a strip": (lambda: encoded(np.zeros((2, 500, 3), np.uint8)), "is a strip of 500 x 2 pixels"),
    "200 megapixels": (lambda: png(20_000, 10_000), "far more pixels|has 200 megapixels"),
    "85 megapixels": (lambda: png(10_000, 8_500), "has 85 megapixels"),
    "100 megapixels": (lambda: png(10_000, 10_000), "has 100 megapixels|far more pixels"),
    "4 gigapixels": (lambda: png(65_000, 65_000), "far more pixels"),
    "200 megapixels jpeg": (lambda: jpeg_of_size(20_000, 10_000), "has 200 megapixels"),
    "a bitmap of 2 gigapixels": (
        lambda: encoded(RGB, "BMP")[:18] + (50_000).to_bytes(4, "little") * 2 + encoded(RGB, "BMP")[26:],
        "far more pixels",
    ),
    "cut jpeg": (lambda: pillow_bytes("JPEG", 0.5), "is damaged or cut off"),
    "jpeg's beginning": (lambda: encoded(RGB, "JPEG")[:30], "is damaged or cut off|is no picture"),
    "two bytes of jpeg": (lambda: b"\xff\xd8", "is damaged or cut off|is no picture"),
    "cut png": (lambda: pillow_bytes("PNG", 0.5), "is damaged or cut off"),
    "png's header": (lambda: encoded(RGB)[:33], "is damaged or cut off|is no picture"),
    "png without enough rows": (lambda: png(40, 40), "is damaged or cut off"),
    "png of a wrong sum": (
        lambda: encoded(RGB)[:41] + bytes([encoded(RGB)[41] ^ 255]) + encoded(RGB)[42:],
        "is damaged or cut off",
    ),
    "cut gif": (lambda: pillow_bytes("GIF", 0.5), "is damaged or cut off"),
    "cut webp": (lambda: pillow_bytes("WEBP", 0.5), "is damaged or cut off"),
    "cut bmp": (lambda: pillow_bytes("BMP", 0.5), "is damaged or cut off"),
    "cut tiff": (lambda: pillow_bytes("TIFF", 0.5), "is damaged or cut off|is no picture"),
    "cut ppm": (lambda: pillow_bytes("PPM", 0.5), "is damaged or cut off"),
    "floats": (floats, "pixels of 32 bits"),
    "32-bit numbers": (lambda: encoded(Image.fromarray(np.full((4, 4), 9, np.int32)), "TIFF"), "pixels of 32 bits"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_picture_is_refused_by_what_is_wrong(name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(BadPictureError, match=words):
        decoded(make())


def test_bytes_are_limited_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MOST_BYTES", 100)
    with pytest.raises(BadPictureError, match="the most of a picture's file is 0"):
        decoded(b"x" * 101)


def test_pixels_are_limited_before_anything_is_decoded() -> None:
    """A header is enough: the data of these files would not even fill a row."""
    for data in (png(9_000, 8_900), jpeg_of_size(9_000, 8_900)):
        with pytest.raises(BadPictureError, match="has 80 megapixels"):
            decoded(data)
        with pytest.raises(BadPictureError, match="has 80 megapixels"):
            size_of(data)


def test_what_damaged_exif_says_is_passed_over() -> None:
    data = encoded(RGB, "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff broken")
    assert np.array_equal(decoded(data), decoded(encoded(RGB, "JPEG")))


def test_without_the_extra_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    decode.pillow_module.cache_clear()
    decode._simplejpeg.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for data in (encoded_without_pillow(), png(4, 4)):
        with pytest.raises(InputError, match=r"pip install 'nearfar\[images\]'"):
            decoded(data)
    decode.pillow_module.cache_clear()
    decode._simplejpeg.cache_clear()


def encoded_without_pillow() -> bytes:
    return b"\xff\xd8\xff\xe0 the beginning of a jpeg"
