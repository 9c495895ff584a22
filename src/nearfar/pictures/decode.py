"""Decoding: the bytes of a picture's file to uint8 (h, w, 3), and every trap of the formats handled on purpose."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError

Picture = npt.NDArray[np.uint8]
MOST_BYTES = 128 << 20  # of a file; a photograph of 80 megapixels without compression has 240 MB, as JPEG 40
MOST_PIXELS = 80_000_000  # 240 MB decoded; below what Pillow itself warns of
LEAST_SIDE = 2  # pixels; 1 x 1 is a web page's counter or a file that was replaced by a stub
MOST_RATIO = 100  # of the longer side to the shorter
# Pillow's names of the formats that are read. Not those that start another program (EPS) or are no pictures of pixels.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"}
)
_ORIENTATION = 0x0112  # EXIF's tag of how the camera was held
_BITS_24 = ("Gray", "YCbCr", "RGB")  # colour spaces of JPEG that simplejpeg turns into RGB as Pillow does


class BadPictureError(ValueError):
    """A file is no picture that can be used; the message says why, as the end of "NAME: ..."."""


def is_picture_name(name: str) -> bool:
    """Return whether a file's name says that it is a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def decoded(data: bytes, side: int | None = None) -> Picture:
    """Return a picture (h, w, 3), red first, upright; its shorter side has at most `side` pixels.

    JPEG is read by simplejpeg, everything else, and CMYK, by Pillow; where a picture is reduced, a JPEG is already
    decoded smaller. A picture is turned as its EXIF says. A palette becomes colours, grey three equal channels, CMYK
    RGB without a colour profile; 16 bits are rounded to 8; what is transparent lies on white; of an animation, or a
    file of several pages, the first picture is read.

    Errors: `BadPictureError`: not a picture of a known format, damaged or cut off; too many bytes or pixels, which its
    header says before anything is decoded; a side of one pixel, a strip; pixels of 32 bits, of which nothing says what
    is white. `InputError` where the extra `images` is not installed.
    """
    if not data:
        raise BadPictureError("the file is empty")
    if len(data) > MOST_BYTES:
        raise too_many_bytes(len(data))
    found = _by_simplejpeg(data, side) if data[:2] == b"\xff\xd8" else None
    picture, orientation = _by_pillow(data, side) if found is None else found
    return _upright(_reduced(picture, side), orientation)


def size_of(data: bytes) -> tuple[int, int]:
    """Return height and width as a picture's header says them, before it is turned. Errors: as `decoded`."""
    pillow = pillow_module()
    try:
        with pillow.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
    except Exception as error:
        raise _bad(error) from error
    check_size(height, width)
    return height, width


def check_size(height: int, width: int) -> None:
    """Refuse a picture by the height and width that its header says. Errors: `BadPictureError`."""
    if height * width > MOST_PIXELS:
        raise BadPictureError(
            f"has {height * width / 1e6:,.0f} megapixels ({width} x {height}), the most is {MOST_PIXELS / 1e6:.0f}"
        )
    if min(height, width) < LEAST_SIDE:
        raise BadPictureError(f"is {width} x {height} pixels, the least side is {LEAST_SIDE}")
    if max(height, width) > MOST_RATIO * min(height, width):
        raise BadPictureError(f"is a strip of {width} x {height} pixels, the most is {MOST_RATIO} to 1")


def too_many_bytes(size: int) -> BadPictureError:
    """Return the error of a file that is too large to be read. size: in bytes."""
    return BadPictureError(f"has {size / 1e6:,.0f} MB, the most of a picture's file is {MOST_BYTES / 1e6:.0f}")


def stored_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """Return the height and width of a picture whose shorter side has at most `side` pixels."""
    scale = 1.0 if side is None else min(1.0, side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def missing_extra(error: ImportError) -> InputError:
    """Return what to tell the user where a library for pictures is not installed."""
    return InputError(f"pictures need {error.name or 'Pillow and simplejpeg'}: pip install 'nearfar[images]'")


@cache
def pillow_module() -> ModuleType:
    """Return Pillow's module `Image`: a picture far beyond the limit is an error in it, and it warns of nothing else.

    Its other warnings are of metadata, and would be many lines for a folder of photographs.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra(error) from error
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    return Image


@cache
def _simplejpeg() -> ModuleType:
    try:
        import simplejpeg
    except ImportError as error:
        raise missing_extra(error) from error
    module: ModuleType = simplejpeg
    return module


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow was built with, of those that are read."""
    pillow = pillow_module()
    pillow.init()
    return tuple(name for name in FORMATS if name in pillow.OPEN)


def _by_simplejpeg(data: bytes, side: int | None) -> tuple[Picture, int] | None:
    """Return a JPEG's picture and its orientation; None where Pillow should try: CMYK, damage that it may get over."""
    simplejpeg = _simplejpeg()
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    check_size(height, width)
    if space not in _BITS_24:
        return None
    least_height, least_width = (0, 0) if side is None else stored_size(height, width, side)
    try:
        picture = simplejpeg.decode_jpeg(data, "RGB", min_height=least_height, min_width=least_width)
    except ValueError:
        return None
    return picture, _orientation_of(data) if b"Exif\0\0" in data[: 1 << 16] else 1


def _by_pillow(data: bytes, side: int | None) -> tuple[Picture, int]:
    """Return the first picture of a file and the orientation that is still to be applied."""
    pillow = pillow_module()
    try:
        with pillow.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            check_size(height, width)
            if side is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, stored_size(height, width, side)[::-1])
            image.load()
            colours = _in_rgb(pillow, image)
            factor = 1 if side is None else min(colours.size) // (2 * side)
            if factor > 1:  # first by means of whole blocks, which takes a tenth of the time and no floats
                colours = colours.reduce(factor)
            return np.array(colours, np.uint8), _orientation(image)
    except BadPictureError:
        raise
    except Exception as error:  # the bytes of a file can raise anything in a decoder
        raise _bad(error) from error


def _in_rgb(pillow: ModuleType, image: Any) -> Any:
    """Return a picture of any of Pillow's modes in RGB: 16 bits rounded to 8, and what is transparent on white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image)
        clear = image.info.get("transparency")  # one grey value
        grey = np.where(values == clear, 255, _in_8_bits(values)) if isinstance(clear, int) else _in_8_bits(values)
        return pillow.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BadPictureError("has pixels of 32 bits, of which nothing says what is white; save it with 8 bits")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = pillow.new("RGB", image.size, "white")
        white.paste(colours, mask=colours.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_8_bits(values: npt.NDArray[Any]) -> Picture:
    """Return grey values of 16 bits (h, w) in 8, rounded: 257 v in 16 bits is v in 8."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _orientation_of(data: bytes) -> int:
    """Return the orientation of a JPEG's file."""
    try:
        with pillow_module().open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            return _orientation(image)
    except Exception:  # damaged EXIF says nothing, and the pixels are whole
        return 1


def _orientation(image: Any) -> int:
    """Return EXIF's orientation, 1 to 8; 1, upright, where there is none or it cannot be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _reduced(picture: Picture, side: int | None) -> Picture:
    height, width = stored_size(picture.shape[0], picture.shape[1], side)
    if (height, width) == picture.shape[:2]:
        return picture
    import torch  # late: what lists pictures need not wait for it

    from nearfar.pictures.resize import in_bytes, resized

    small: Picture = in_bytes(resized(torch.from_numpy(picture)[None], height, width))[0].numpy()
    return small


def _upright(picture: Picture, orientation: int) -> Picture:
    """Return a picture as it was seen. orientation: EXIF's: 2, 4, 5, 7 are mirrored, 5 to 8 lie on their side."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _bad(error: Exception) -> BadPictureError:
    """Return an error of a decoder as one that says what is wrong with the file."""
    pillow = pillow_module()
    if isinstance(error, BadPictureError):
        return error
    if isinstance(error, pillow.DecompressionBombError | pillow.DecompressionBombWarning):
        return BadPictureError(f"has far more pixels than the most, {MOST_PIXELS / 1e6:.0f} megapixels")
    if isinstance(error, pillow.UnidentifiedImageError):
        return BadPictureError("is no picture of a format that is read (JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, ...)")
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return BadPictureError(f"is damaged or cut off ({said})")
