"""What a picture shows, without the empty space around it: for drawings, letters, logos, parts on a plain ground."""

from __future__ import annotations

import torch
from torch import Tensor

DIFFERENT = 64  # of 255: by how much a pixel of what is shown differs, in some channel, from the edge
MARGIN = 0.075  # of the side, at each side
LEAST = 2  # pixels of the margin


def trimmed(picture: Tensor) -> Tensor:
    """Return the square (s, s, 3) around what differs from the median colour of the edge, of a picture (h, w, 3) uint8.

    The square is centred on what is shown, with a margin, so that it is where and as large as in any other picture;
    what it has beyond the picture is of the edge's colour. A picture of one colour is squared as a whole.
    """
    edge = torch.cat([picture[0], picture[-1], picture[:, 0], picture[:, -1]]).median(0).values  # (3,)
    differs = ((picture.int() - edge.int()).abs() > DIFFERENT).any(2)  # (h, w)
    rows, columns = (differs.any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = [(0, length) for length in picture.shape[:2]]
    if len(rows):
        box = [(int(places[0]), int(places[-1]) + 1) for places in (rows, columns)]
    longest = max(stop - start for start, stop in box)
    side = longest + 2 * max(LEAST, round(longest * MARGIN))
    square = edge.repeat(side, side, 1)
    (top, height), (left, width) = (
        ((start + stop - side) // 2, length) for (start, stop), length in zip(box, picture.shape[:2])
    )
    inside = picture[max(top, 0) : min(top + side, height), max(left, 0) : min(left + side, width)]
    y, x = max(-top, 0), max(-left, 0)
    square[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return square
