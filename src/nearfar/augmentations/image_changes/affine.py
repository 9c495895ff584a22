"""Changes of place: pictures turned, moved, scaled and sheared about their middle, and bent."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


def warped(
    x: Tensor, angle: Tensor, move: Tensor, scale: Tensor, shear: Tensor, fill: Tensor, bend: Tensor | None = None
) -> Tensor:
    """Return pictures (n, 3, h, w) turned clockwise by angle (n,) degrees, scaled, sheared and moved, bilinear.

    move (n, 2): pixels to the right and down. shear (n, 2): degrees along x and y. fill (n, 3): the colour of what
    comes from outside. bend (n, 2, r, c): how many pixels to the right and down of it the content of a place is taken
    from, at r x c places spread evenly, smooth in between (bicubic; Simard et al. 2003, "Best practices for
    convolutional neural networks applied to visual document analysis", smooth random displacements by a Gaussian).
    Without it, and for one row, it is torchvision's `affine` of a tensor, but for the edge, which is blended with the
    fill once, not twice.
    """
    n, _, h, w = x.shape
    a, sx, sy = (degrees * (math.pi / 180) for degrees in (angle, shear[:, 0], shear[:, 1]))
    # The matrix from the result's places to the picture's: the inverse of turn, shear and scale about the middle
    p, q = torch.cos(a - sy) / torch.cos(sy), -torch.cos(a - sy) * torch.tan(sx) / torch.cos(sy) - torch.sin(a)
    r, s = torch.sin(a - sy) / torch.cos(sy), -torch.sin(a - sy) * torch.tan(sx) / torch.cos(sy) + torch.cos(a)
    inverse = torch.stack([torch.stack([s, -q], 1), torch.stack([-r, p], 1)], 1) / scale[:, None, None]  # (n, 2, 2)
    shift = -(inverse @ move[:, :, None])  # (n, 2, 1)
    sides = torch.tensor([w, h], dtype=x.dtype, device=x.device) / 2
    theta = torch.cat([inverse * sides / sides[:, None], shift / sides[:, None]], 2)  # (n, 2, 3)
    grid = affine_grid(theta, [n, 3, h, w], align_corners=False)
    if bend is not None:
        pixels = interpolate(bend, (h, w), mode="bicubic", align_corners=True)  # (n, 2, h, w)
        grid = grid + pixels.permute(0, 2, 3, 1) / sides
    ones = torch.ones_like(x[:, :1])
    found = grid_sample(torch.cat([x, ones], 1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found[:, :3] + (1 - found[:, 3:]) * fill[:, :, None, None]
