"""Packing: the tokens of many texts in one row, longest text first, in groups of about one length."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nearfar.column import Ids, ranges

WASTE, SMALL = 0.1, 256  # padding of a group: a share of its tokens, or so few that one more group would cost more
LONGEST_GROUP = (
    128  # tokens from which a text is worth its own products: only equal lengths share a group, without padding
)


@dataclass(frozen=True)
class Group:
    """Neighbouring texts whose attention is computed at once, `rows` of `length` places from token `start` on.

    Where they are not all of that length: `place` (rows * length,) the token of each place (any for padding), `real`
    (tokens,) the places that hold one, `padding` (rows, length) the others.
    """

    start: int
    rows: int
    length: int
    place: Tensor | None = None
    real: Tensor | None = None
    padding: Tensor | None = None

    @classmethod
    def of(cls, lengths: Ids, start: int) -> Self:
        """Return the group of texts of these lengths (rows,), the first the longest."""
        rows, length = len(lengths), int(lengths[0])
        if int(lengths[-1]) == length:
            return cls(start, rows, length)
        first = start + np.cumsum(lengths) - lengths
        within = np.arange(length)
        padding = within >= lengths[:, None]  # (rows, length)
        place = np.where(padding, first[:, None], first[:, None] + within)
        real = np.flatnonzero(~padding)
        return cls(start, rows, length, *map(torch.from_numpy, (place.ravel(), real, padding)))

    def to(self, device: torch.device) -> Group:
        """Return the same on another device."""
        if self.place is None or self.real is None or self.padding is None:
            return self
        moved = (t.to(device) for t in (self.place, self.real, self.padding))
        return Group(self.start, self.rows, self.length, *moved)


@dataclass(frozen=True)
class Packing:
    """How texts lie in one row of tokens, longest first.

    lengths, starts: (n,); row, position: (t,) of each token, the place of its text and its own within it.
    """

    groups: list[Group]
    lengths: Tensor
    starts: Tensor
    row: Tensor
    position: Tensor

    @classmethod
    def of(cls, lengths: Ids) -> Self:
        """Lay out texts of these lengths (n,), the longest first, each at least 1."""
        assert (np.diff(lengths) <= 0).all()
        starts = np.cumsum(lengths) - lengths
        row = np.repeat(np.arange(len(lengths)), lengths)
        position = ranges(np.zeros(len(lengths), np.int64), lengths)
        groups = [Group.of(lengths[a:b], int(starts[a])) for a, b in pairwise(_cuts(lengths))]
        arrays = [torch.from_numpy(a) for a in (lengths, starts, row, position)]
        return cls(groups, *arrays)

    def to(self, device: torch.device) -> Packing:
        """Return the same on another device."""
        if device == self.lengths.device:
            return self
        moved = (t.to(device) for t in (self.lengths, self.starts, self.row, self.position))
        return Packing([group.to(device) for group in self.groups], *moved)


def _cuts(lengths: Ids) -> list[int]:
    """Return where groups begin, and the end: a group ends where padding would cost more than another group."""
    cuts, tokens = [0], 0
    for i, length in enumerate(lengths.tolist()):
        size = (i + 1 - cuts[-1]) * int(lengths[cuts[-1]])
        tokens += length
        most = max(WASTE * tokens, SMALL) if lengths[cuts[-1]] < LONGEST_GROUP else 0
        if size - tokens > most:
            cuts.append(i)
            tokens = length
    return [*cuts, len(lengths)] if len(lengths) else [0]
