"""SimCLR's two views of a batch of small pictures, ours and the peers': a crop of 0.08 to 1, flip, jitter, grey.

Colours have strength 0.5 and nothing is blurred, as for pictures of 32 pixels everywhere. A crop of 32 pixels is at
most 32, so that it never shrinks and antialiasing changes nothing. Each form takes uint8 pictures (n, h, w, 3) and
returns the views of all, one after the other, each picture with draws of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

SIDE = 32
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
P_FLIP, P_JITTER, P_GREY = 0.5, 0.8, 0.2
Views = Iterator[Tensor]  # tensors of any shape, uint8 or 0 to 1
Form = Callable[[Tensor], Views]


def _ours() -> Form:
    from nearfar.augmentations.image import ImageAugmentation
    from nearfar.compute.draws import Draws

    change, count = ImageAugmentation("simclr", size=SIDE), iter(range(10**9))

    def views(pictures: Tensor) -> Views:
        for stream in (1, 2):
            rows = np.arange(len(pictures), dtype=np.int64)
            seeds = np.stack([np.zeros_like(rows), np.full_like(rows, next(count)), rows], 1)  # (n, 3)
            found = change(pictures, Draws.of(seeds, stream))
            assert isinstance(found, Tensor)
            yield found

    return views


def _lightly(source: str, normalize: bool) -> Form:
    from lightly.transforms.simclr_transform import SimCLRTransform
    from PIL import Image

    given: dict[str, Any] = {} if normalize else {"normalize": None}
    change = SimCLRTransform(input_size=SIDE, cj_strength=0.5, gaussian_blur=0.0, **given)

    def views(pictures: Tensor) -> Views:
        for picture in pictures:
            cell = Image.fromarray(picture.numpy()) if source == "pil" else picture.permute(2, 0, 1)
            views: Any = change(cell)
            yield from views

    return views


def _v2(source: str) -> Any:
    """Return torchvision's transforms of a picture, or of a batch with the same draws for all of it."""
    from torchvision.transforms import v2

    end = [v2.ToDtype(torch.float32, scale=True)] if source == "float" else []
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO, antialias=True),
            v2.RandomHorizontalFlip(P_FLIP),
            *end,
            v2.RandomApply([v2.ColorJitter(**JITTER)], P_JITTER),
            v2.RandomGrayscale(P_GREY),
            *([v2.PILToTensor()] if source == "pil" else []),
        ]
    )


def _torchvision(source: str) -> Form:
    from PIL import Image

    change = _v2(source)

    def views(pictures: Tensor) -> Views:
        for picture in pictures:
            cell = Image.fromarray(picture.numpy()) if source == "pil" else picture.permute(2, 0, 1)
            for _ in range(2):
                yield change(cell)

    return views


def _torchvision_shared() -> Form:
    """Return v2 over the whole batch: all pictures get the same crop and colours, which is less work and no SimCLR."""
    change = _v2("uint8")

    def views(pictures: Tensor) -> Views:
        for _ in range(2):
            yield change(pictures.permute(0, 3, 1, 2))

    return views


def _kornia(cropping: str, *, together: bool) -> Form:
    import kornia.augmentation as K

    change = K.AugmentationSequential(
        K.RandomResizedCrop((SIDE, SIDE), scale=SCALE, ratio=RATIO, cropping_mode=cropping),
        K.RandomHorizontalFlip(p=P_FLIP),
        K.ColorJitter(**JITTER, p=P_JITTER),
        K.RandomGrayscale(p=P_GREY),
        data_keys=["input"],
        same_on_batch=False,
    )

    def views(pictures: Tensor) -> Views:
        x = pictures.permute(0, 3, 1, 2).float().div_(255)  # (n, 3, h, w)
        if together:
            yield change(torch.cat([x, x]))
        else:
            yield change(x)
            yield change(x)

    return views


FORMS: dict[str, Callable[[], Form]] = {
    "nearfar": _ours,
    "lightly, as documented": lambda: _lightly("pil", normalize=True),
    "lightly, PIL": lambda: _lightly("pil", normalize=False),
    "lightly, tensors": lambda: _lightly("uint8", normalize=False),
    "torchvision v2, PIL": lambda: _torchvision("pil"),
    "torchvision v2, uint8": lambda: _torchvision("uint8"),
    "torchvision v2, float": lambda: _torchvision("float"),
    "kornia, resample": lambda: _kornia("resample", together=False),
    "kornia, resample, 2n": lambda: _kornia("resample", together=True),
    "kornia, slice": lambda: _kornia("slice", together=False),
    "torchvision v2, one draw a batch": _torchvision_shared,
}
NOT_EQUAL = "torchvision v2, one draw a batch"  # what it does is less: shown, and held against nobody
NORMALISED = "lightly, as documented"  # its views are normalised, so that their statistics are others
