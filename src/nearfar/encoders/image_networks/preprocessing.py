"""What becomes of a picture before the network sees it; the embedding space depends on all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nearfar.encoders.reading.pictures import ByteResize, Fit
from nearfar.errors import InputError
from nearfar.pictures.resize import Resample

Channels = Literal["rgb", "bgr"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 4096  # pixels of a side


@dataclass(frozen=True)
class Made:
    """What a network was made for: its side in pixels, and the mean and standard deviation of its input in 0 to 1."""

    size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    fit: Fit = "crop"
    resample: Resample | None = None
    short_side: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """A picture is resized to `size` pixels, its channels put in order, and its pixels p become (p - mean) / std.

    size: None until it is known. p: in 0 to 1. mean, std: of each channel, in red, green, blue, whatever the order of
    `channels`. fit: crop, squash or content (`reading.pictures.resized`). antialias: see `pictures.resize`, which is
    bilinear. resample: resize in bytes and the whole picture, as transformers and Pillow do, bilinear or bicubic; of
    crop, its short side to `short_side` pixels, by default `size`, before the square in the middle is cut.
    """

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit = "crop"
    channels: Channels = "rgb"
    antialias: bool = True
    resample: Resample | None = None
    short_side: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON has them; those of another library's resizing only where it is used."""
        known = {name: value for name, value in asdict(self).items() if name not in _OF_OTHERS or value is not None}
        return {**known, "mean": list(self.mean), "std": list(self.std)}

    def exact(self) -> ByteResize | None:
        """Return how another library resizes; None for nearfar's own way."""
        if self.resample is None or self.size is None:
            return None
        return ByteResize(max(self.short_side or 0, self.size), self.resample)


_OF_OTHERS = ("resample", "short_side")


def resizing(
    made: Made, resample: Resample | None, short_side: int | None, size: int | None, fit: Fit | None
) -> tuple[Resample | None, int | None]:
    """Return `resample` and `short_side` of a recipe's settings, where it leaves them out those of the folder.

    The short side grows and shrinks with `size`. Errors: `InputError` for settings that do not fit each other.
    """
    fit, size = fit or made.fit, size or made.size
    resample = resample or (None if fit == "content" else made.resample)
    if short_side is None:
        if fit != "crop" or made.short_side is None:
            return resample, None
        short_side = round(made.short_side * size / made.size)
    short_side = checked_size(short_side, "encoder.short_side")
    if resample is None or fit != "crop" or short_side < size:
        raise InputError(
            f"encoder.short_side: {short_side} is for fit=crop with encoder.resample, and at least the size ({size})"
        )
    return resample, short_side


def checked_size(size: Any, where: str) -> int:
    """Return a side in pixels. Errors: `InputError` for what is none, with its place."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise InputError(f"{where} must be 1 to {LARGEST} pixels, it is {size!r:.40}")
    return size


def checked_three(values: Any, where: str, *, above_zero: bool = False) -> tuple[float, ...]:
    """Return three numbers, of red, green and blue. Errors: `InputError` for others, with their place."""
    numbers = values if isinstance(values, Sequence) and not isinstance(values, str) else ()
    good = len(numbers) == 3 and all(isinstance(v, int | float) and math.isfinite(v) for v in numbers)
    if not good or (above_zero and min(numbers) <= 0):
        kind = "three numbers above 0" if above_zero else "three numbers"
        raise InputError(f"{where} must be {kind}, of red, green and blue in 0 to 1; it is {values!r:.80}")
    return tuple(float(v) for v in numbers)


def made_for(where: str, config: Mapping[str, Any], *, size: str, mean: str, std: str, fit: Fit = "crop") -> Made:
    """Return what a config says of its network's input, under these names; the defaults where it does not.

    The size may be a number, [height, width] or [channels, height, width]. Errors: `InputError` with the setting.
    """
    side = config.get(size)
    if isinstance(side, Sequence) and not isinstance(side, str) and side:
        if len({*side[-2:]}) > 1:
            raise InputError(f"{where}: {size} {side!r:.40} is no square; nearfar reads squares")
        side = side[-1]
    return Made(
        Made.size if side is None else checked_size(side, f"{where}: {size}"),
        IMAGENET_MEAN if config.get(mean) is None else checked_three(config[mean], f"{where}: {mean}"),
        IMAGENET_STD if config.get(std) is None else checked_three(config[std], f"{where}: {std}", above_zero=True),
        fit,
    )
