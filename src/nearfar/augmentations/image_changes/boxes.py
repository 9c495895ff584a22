"""The boxes that crops and cutouts draw: a share of the area and a ratio of the sides, where they fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearfar.compute.draws import Draws

TRIES = 10  # of a share and a ratio that fit, as torchvision's RandomResizedCrop and RandomErasing make

Range = tuple[float, float]


def crop_boxes(draws: Draws, lane: int, sizes: Tensor, scale: Range, ratio: Range) -> Tensor:
    """Return a box (n, 4: top, left, height, width) in pictures of sizes (n, 2), as RandomResizedCrop draws them.

    The area is uniform between shares of the picture's, the logarithm of width over height uniform between those of
    `ratio`; the first of ten tries that fits is taken, else the largest box in the middle with a ratio in the range.
    Lanes `lane` to `lane + 2` are used.
    """
    height, width = sizes[:, :1].float(), sizes[:, 1:].float()  # (n, 1)
    area = draws.uniform(TRIES, *_open(scale), lane=lane) * height * width  # (n, tries)
    shape = draws.uniform(TRIES, *_open((math.log(ratio[0]), math.log(ratio[1]))), lane=lane + 1).exp()
    wide, tall = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.long().argmax(1, keepdim=True)  # (n, 1)
    found = fits.gather(1, first)
    own = width / height
    middle_tall = torch.where(own < ratio[0], (width / ratio[0]).round(), height).clamp(min=1)
    middle_wide = torch.where(own > ratio[1], (height * ratio[1]).round(), width).clamp(min=1)
    tall = torch.where(found, tall.gather(1, first), torch.minimum(middle_tall, height))
    wide = torch.where(found, wide.gather(1, first), torch.minimum(middle_wide, width))
    place = draws.uniform(2, lane=lane + 2)  # (n, 2)
    rest = torch.cat([height - tall, width - wide], 1)  # (n, 2)
    drawn = torch.minimum((place * (rest + 1)).floor(), rest)
    centre = (rest / 2).floor()
    return torch.cat([torch.where(found, drawn, centre), tall, wide], 1).long()


def cutout_boxes(draws: Draws, lane: int, size: tuple[int, int], scale: Range, ratio: Range) -> Tensor:
    """Return a box (n, 4) to blank out of each picture of one size, as RandomErasing draws them; zeros where none fits.

    Lanes `lane` to `lane + 2` are used.
    """
    height, width = size
    area = draws.uniform(TRIES, *_open(scale), lane=lane) * (height * width)  # (n, tries)
    shape = draws.uniform(TRIES, *_open((math.log(ratio[0]), math.log(ratio[1]))), lane=lane + 1).exp()
    tall, wide = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.long().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    tall, wide = tall.gather(1, first) * found, wide.gather(1, first) * found
    rest = torch.cat([height - tall, width - wide], 1)
    place = torch.minimum((draws.uniform(2, lane=lane + 2) * (rest + 1)).floor(), rest)
    return torch.cat([place, tall, wide], 1).long()


def _open(span: Range) -> Range:
    """Return the ends of a range as `Draws.uniform` takes them: a point becomes a range hardly wider."""
    return span if span[0] < span[1] else (span[0], math.nextafter(span[0], math.inf) + abs(span[0]) * 1e-6 + 1e-30)
