"""Changes of colour: brightness, contrast, saturation and hue in a random order, grey, solarised.

Each is torchvision's function of the same name, for a batch with a factor for each row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision and Pillow weigh them


def grey(x: Tensor) -> Tensor:
    """Return the grey values (n, 1, h, w) of pictures (n, 3, h, w)."""
    result = x[:, :1] * GREY[0]
    return result.add_(x[:, 1:2], alpha=GREY[1]).add_(x[:, 2:3], alpha=GREY[2])


def brightened(x: Tensor, factor: Tensor) -> Tensor:
    """Return x times the factors (n,), at most 1; in place."""
    return x.mul_(factor[:, None, None, None]).clamp_(0, 1)


def contrasted(x: Tensor, factor: Tensor) -> Tensor:
    """Return x blended with the mean of its grey values by the factors (n,): 0 is the mean, 1 is x; in place."""
    mean = grey(x).mean(3, keepdim=True).mean(2, keepdim=True)  # (n, 1, 1, 1), in an order that no batch changes
    return _blended(x, mean, factor)


def saturated(x: Tensor, factor: Tensor) -> Tensor:
    """Return x blended with its grey values by the factors (n,): 0 is grey, 1 is x; in place."""
    return _blended(x, grey(x), factor)


def hue_turned(x: Tensor, turn: Tensor) -> Tensor:
    """Return x with its hue turned by (n,) parts of a circle, -0.5 to 0.5; value and saturation stay.

    The hue h (in sixths of a circle) is taken from which channel is the largest, and channel n of 5, 3, 1 is then
    max - (max - min) * clamp(min(k, 4 - k), 0, 1) with k = (n + h) mod 6 (the closed form of HSV to RGB).
    """
    red, green, blue = x.unbind(1)  # (n, h, w) each
    largest = torch.maximum(torch.maximum(red, green), blue)
    chroma = largest - torch.minimum(torch.minimum(red, green), blue)
    unit = 1 / torch.where(chroma > 0, chroma, 1)
    hue = torch.where(largest == green, (blue - red).mul_(unit).add_(2), (red - green).mul_(unit).add_(4))
    hue = torch.where(largest == red, (green - blue).mul_(unit), hue)
    hue += (turn * 6)[:, None, None]
    for channel, n in enumerate((5, 3, 1)):
        k = (hue + n).remainder_(6)
        k = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.sub(largest, k.mul_(chroma), out=x[:, channel])
    return x.clamp_(0, 1)


def solarised(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Return x with the values from the threshold on inverted."""
    return torch.where(x >= threshold, 1 - x, x)


CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightened, contrasted, saturated, hue_turned)


def jittered(x: Tensor, rows: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Return x with the four changes made to some rows, each row's in its own order; in place.

    rows (m,): places in x. factors (m, 4): of brightness, contrast, saturation and hue; a change whose factors are all
    neutral is left out. order (m, 4): which change comes first, second, ...
    """
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0], device=x.device)
    made = [number for number in range(4) if bool((factors[:, number] != neutral[number]).any())]
    for position in range(4):
        for number in made:
            here = (order[:, position] == number).nonzero()[:, 0]
            if len(here):
                places = rows[here]
                x.index_copy_(0, places, CHANGES[number](x.index_select(0, places), factors[here, number]))
    return x


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = factor[:, None, None, None]
    return x.mul_(factor).add_(other * (1 - factor)).clamp_(0, 1)
