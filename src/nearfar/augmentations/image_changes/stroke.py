"""Stroke width: lines made thicker or thinner, as another pen would draw them."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import max_pool2d


def restroked(x: Tensor, amount: Tensor) -> Tensor:
    """Return pictures (n, c, h, w), dark lines thicker by amount (n,) above 0, thinner by one below.

        x + |amount| (m(x) - x), m the erosion of the picture for amount > 0 (dark grows), else the dilation

    m takes the least or the largest value of the 3 x 3 pixels around each (grey-scale morphology), so an amount of 1
    moves the edge of a line by one pixel, and one of 0 leaves all as it is.
    """
    darker, lighter = -max_pool2d(-x, 3, 1, 1), max_pool2d(x, 3, 1, 1)
    share = amount[:, None, None, None]
    return x + share.clamp(min=0) * (darker - x) + (-share).clamp(min=0) * (lighter - x)
