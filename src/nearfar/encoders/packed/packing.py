"""Packing: the tokens of many texts in one row, longest text first, in groups of texts of similar length."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nearfar.column import Ids, ranges

# A group may be padded by this share of its tokens, or by so few tokens that one more group would cost more.
PADDING_SHARE, PADDING_TOKENS = 0.1, 256
CHUNK = 4_096  # tokens of one forward pass without gradients: its activations stay in the cache
LONGEST_PADDED = 128  # tokens: only shorter texts are padded; longer ones share a group only with texts of equal length
# Of a forward pass without gradients on a CPU. oneDNN compiles a product for each new shape, and it and torch keep what
# they have compiled; so that shapes come again, numbers of tokens are rounded up, and the lengths in attention.
ROUNDED_TOKENS, ROUNDED_SHARE, ROUNDED_LENGTH = 8, 32, 16


@dataclass(frozen=True)
class Packing:
    """The layout of n texts in one row of t tokens, longest text first.

    lengths, starts: (n,), of each text. text_index, position: (t,), the text of each token, and its index in that text.
    filler: rows after those of the tokens, which belong to no text, so that their number is a round one.
    """

    groups: list[Group]
    lengths: Tensor
    starts: Tensor
    text_index: Tensor
    position: Tensor
    filler: int = 0

    @classmethod
    def of(cls, lengths: Ids, *, rounded: bool = False) -> Self:
        """Lay out texts of these lengths (n,), the longest first, each at least 1.

        rounded: let the number of rows, and the lengths in attention, be round ones, so that shapes come again.
        """
        assert (np.diff(lengths) <= 0).all()
        starts = np.cumsum(lengths) - lengths
        text_index = np.repeat(np.arange(len(lengths)), lengths)
        position = ranges(np.zeros(len(lengths), np.int64), lengths)
        multiple = ROUNDED_LENGTH if rounded else 1
        bounds = _group_bounds(lengths, multiple)
        groups = [Group.of(lengths[a:b], int(starts[a]), multiple) for a, b in pairwise(bounds)]
        a, b, c, d = (torch.from_numpy(x) for x in (lengths, starts, text_index, position))
        tokens = len(text_index)
        return cls(groups, a, b, c, d, filler=round_tokens(tokens) - tokens if rounded else 0)

    def to(self, device: torch.device) -> Packing:
        """Return the same on another device."""
        if device == self.lengths.device:
            return self
        a, b, c, d = (t.to(device) for t in (self.lengths, self.starts, self.text_index, self.position))
        return Packing([group.to(device) for group in self.groups], a, b, c, d, filler=self.filler)


@dataclass(frozen=True)
class Group:
    """Neighbouring texts whose attention is computed together, as a padded matrix (rows, length) of slots.

    The texts' tokens begin at `start` in the row of all tokens. Where the texts differ in length, three tensors relate
    slots and tokens: `slot_token` (rows * length,), the token of each slot (any token for padding); `token_slot`
    (tokens,), the slot of each token; `padding` (rows, length), True for slots without a token.
    """

    start: int
    rows: int
    length: int
    slot_token: Tensor | None = None
    token_slot: Tensor | None = None
    padding: Tensor | None = None

    @classmethod
    def of(cls, lengths: Ids, start: int, multiple: int = 1) -> Self:
        """Return the group of texts of these lengths (rows,), the first the longest. multiple: the slots of a row."""
        rows, length = len(lengths), _rounded(int(lengths[0]), multiple)
        if int(lengths[-1]) == length:
            return cls(start, rows, length)
        first = start + np.cumsum(lengths) - lengths  # (rows,) the first token of each text
        position = np.arange(length)
        padding = position >= lengths[:, None]  # (rows, length)
        slot_token = np.where(padding, first[:, None], first[:, None] + position)
        token_slot = np.flatnonzero(~padding)
        return cls(start, rows, length, *map(torch.from_numpy, (slot_token.ravel(), token_slot, padding)))

    def tokens_before(self, row: int) -> int:
        """Return the number of tokens of the rows before this one."""
        if self.token_slot is None:
            return row * self.length
        if row == self.rows:
            return len(self.token_slot)
        return int(torch.searchsorted(self.token_slot, row * self.length))

    def to(self, device: torch.device) -> Group:
        """Return the same on another device."""
        if self.slot_token is None or self.token_slot is None or self.padding is None:
            return self
        tensors = (t.to(device) for t in (self.slot_token, self.token_slot, self.padding))
        return Group(self.start, self.rows, self.length, *tensors)


def round_tokens(tokens: int) -> int:
    """Return a number of tokens, rounded up by less than a thirty-second of it, or by less than eight."""
    return _rounded(tokens, max(ROUNDED_TOKENS, (1 << tokens.bit_length()) // (2 * ROUNDED_SHARE)))


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _group_bounds(lengths: Ids, multiple: int) -> list[int]:
    """Return the first text of each group, then n: a group ends where padding would cost more than another group."""
    bounds, tokens = [0], 0
    for i, length in enumerate((-(-lengths // multiple) * multiple).tolist()):
        longest = _rounded(int(lengths[bounds[-1]]), multiple)
        slots = (i + 1 - bounds[-1]) * longest
        tokens += length
        most = max(PADDING_SHARE * tokens, PADDING_TOKENS) if longest < LONGEST_PADDED else 0
        if slots - tokens > most:
            bounds.append(i)
            tokens = length
    return [*bounds, len(lengths)] if len(lengths) else [0]


def chunks(lengths: Ids) -> list[slice]:
    """Return ranges of texts (n,) of about CHUNK tokens, for forward passes without gradients on a CPU."""
    chunk = (np.cumsum(lengths) - 1) // CHUNK  # (n,) of each text
    bounds = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(lengths)]
    return [slice(a, b) for a, b in pairwise(bounds)]
