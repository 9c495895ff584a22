"""Blur: a Gaussian over each picture, with a width of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def blurred(x: Tensor, sigma: Tensor, size: int) -> Tensor:
    """Return pictures (n, 3, h, w) blurred by Gaussians of widths sigma (n,), over an odd number of pixels, `size`.

    The edges are mirrored, as in torchvision's gaussian_blur.
    """
    half = size // 2
    place = torch.arange(size, device=x.device) - half
    weights = torch.exp(-0.5 * (place / sigma[:, None]).square())  # (n, size)
    weights = weights / weights.sum(1, keepdim=True)
    for axis in (2, 3):
        padded = pad(x, (half, half, 0, 0) if axis == 3 else (0, 0, half, half), mode="reflect")
        total = torch.zeros_like(x)
        for i in range(size):
            total.addcmul_(padded.narrow(axis, i, x.shape[axis]), weights[:, i, None, None, None])
        x = total
    return x
