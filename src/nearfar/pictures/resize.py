"""Resizing: a box of each picture, bilinear with antialiasing, to a square or any size; the only resize in nearfar.

Models that were made with another library's resize have that, too: whole pictures, in bytes, also bicubic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Resample = Literal["bilinear", "bicubic"]
SMALL = 64 * 64  # pixels of a picture up to which a batch is resized by two matrix products


def resized_crops(
    pictures: Tensor, boxes: Tensor, height: int, width: int, flip: Tensor | None = None, *, antialias: bool = True
) -> Tensor:
    """Return a box of each picture, resized: (n, h, w, 3) uint8 to (n, 3, height, width) float32 in 0 to 1.

    boxes (n, 4): top, left, height, width, whole pixels inside the picture. flip (n,): which are mirrored. Bilinear
    with antialiasing, as `interpolate(..., antialias=True)` of the box: when a box shrinks, the kernel widens with it.
    antialias: False is for networks that were trained on pictures resized without, which keeps of a shrinking box only
    what lies beside the sampled points.

    What becomes of a picture does not depend, in any bit, on the others of the batch: small pictures are two matrix
    products, large ones are cut and resized one by one.
    """
    n, h, w, _ = pictures.shape
    if h * w > SMALL:
        parts = [_cut(picture, box, height, width, antialias) for picture, box in zip(pictures, boxes.tolist())]
        result = torch.cat(parts) if parts else pictures.new_zeros((0, 3, height, width), dtype=torch.float32)
        return result if flip is None else torch.where(flip[:, None, None, None], result.flip(3), result)
    rows = kernels(boxes[:, 0], boxes[:, 2], h, height, antialias=antialias)  # (n, height, h)
    columns = kernels(boxes[:, 1], boxes[:, 3], w, width, flip, antialias=antialias)  # (n, width, w)
    cells = pictures.reshape(n, h, w * 3).float()  # (n, h, w * 3)
    tall = torch.bmm(rows.mul_(1 / 255), cells)  # (n, height, w * 3)
    planes = tall.view(n, height, w, 3).permute(0, 3, 1, 2).reshape(n, 3 * height, w)
    return torch.bmm(planes, columns.transpose(1, 2)).view(n, 3, height, width).clamp_(0, 1)


def kernels(
    start: Tensor, length: Tensor, total: int, out: int, flip: Tensor | None = None, *, antialias: bool = True
) -> Tensor:
    """Return the weights (n, out, total) of antialiased bilinear resizing of total entries, from start, length of them.

    Entry i of the result is centred at (i + 1/2) length / out in the box, and the triangle around it is as wide as one
    entry of the result, at least one of the picture, and without `antialias` just one. Rows sum to 1. flip (n,): which
    are read from the other end.
    """
    scale = (length.float() / out)[:, None]  # (n, 1)
    reach = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    place = torch.arange(out, device=start.device) + 0.5  # (out,)
    centre = (place if flip is None else torch.where(flip[:, None], out - place, place)) * scale  # (n, out)
    place = torch.arange(total, device=start.device) - start[:, None]  # (n, total)
    distance = (place[:, None, :] + 0.5 - centre[:, :, None]) / reach[:, :, None]  # (n, out, total)
    weights = distance.abs_().neg_().add_(1).clamp_(min=0)
    weights *= ((place >= 0) & (place < length[:, None]))[:, None, :]
    return weights.div_(weights.sum(2, keepdim=True))


def resized(pictures: Tensor | Sequence[Tensor], height: int, width: int) -> Tensor:
    """Return whole pictures, each uint8 (h, w, 3), resized: (n, 3, height, width) float32 in 0 to 1."""
    if isinstance(pictures, Tensor):
        n, h, w, _ = pictures.shape
        if (h, w) == (height, width):
            return pictures.permute(0, 3, 1, 2).float() / 255
        boxes = torch.tensor([[0, 0, h, w]], device=pictures.device).expand(n, 4)
        return resized_crops(pictures, boxes, height, width)
    if not pictures:
        return torch.zeros((0, 3, height, width))
    return torch.cat([resized(picture[None], height, width) for picture in pictures])


def resized_bytes(pictures: Tensor, height: int, width: int, resample: Resample) -> Tensor:
    """Return whole pictures (n, h, w, 3) uint8 resized in whole numbers, (n, height, width, 3), antialiased.

    Pillow and torchvision resize so, to the same bytes; `resized` differs from it by the rounding between the two axes.
    """
    planes = pictures.permute(0, 3, 1, 2).contiguous()
    exact = planes.device.type == "cpu"  # other devices have no kernel for bytes
    given = planes if exact else planes.float()
    found = interpolate(given, (height, width), mode=resample, antialias=True, align_corners=False)
    return (found if exact else found.round_().clamp_(0, 255).to(torch.uint8)).permute(0, 2, 3, 1)


def in_bytes(planes: Tensor) -> Tensor:
    """Return planes (n, 3, h, w) in 0 to 1, which are changed, as pictures (n, h, w, 3), rounded to uint8."""
    return planes.mul_(255).round_().to(torch.uint8).permute(0, 2, 3, 1)


def by_shape(pictures: Sequence[Any]) -> list[list[int]]:
    """Return the rows of pictures, tensors or arrays, those of one shape together, in the order of their firsts."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, picture in enumerate(pictures):
        found.setdefault(tuple(picture.shape), []).append(row)
    return list(found.values())


def _cut(picture: Tensor, box: Sequence[int], height: int, width: int, antialias: bool) -> Tensor:
    """Return one box (1, 3, height, width) of a picture (h, w, 3)."""
    top, left, tall, wide = box
    cut = picture[top : top + tall, left : left + wide].permute(2, 0, 1)[None].float().div_(255)
    return interpolate(cut, (height, width), mode="bilinear", antialias=antialias, align_corners=False)
