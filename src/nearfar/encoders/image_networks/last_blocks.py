"""The last blocks of a picture network, over the feature maps or states that the blocks below give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.abilities import LastBlocks
from nearfar.encoders.reading.last_blocks import checked_count, first_of, from_block, reached, tried, until_block
from nearfar.encoders.reading.pictures import PictureInputs
from nearfar.encoders.reading.stored_states import StateRows

TRIAL = 2  # pictures


class LastPictureBlocks:
    """See `abilities.LastBlocks`: the last `count` blocks or stages of `Image`, with what follows them.

    What reaches them has one state for a picture, such as a feature map (channels, height, width). encoder: an `Image`,
    which has these as its own.
    """

    def __init__(self, encoder: Any, count: int) -> None:
        layers = encoder.network.layers()
        self.encoder = encoder
        self.parameters: Sequence[nn.Parameter] = [parameter for layer in layers[-count:] for parameter in layer]
        self.first = first_of(encoder.network, self.parameters)
        self.lower, self.upper = until_block(encoder.network, self.first), from_block(encoder.network, self.first)

    @torch.no_grad()
    def below(self, inputs: PictureInputs) -> StateRows:
        """Return the state (n, ...) that reaches the blocks, of each picture."""
        blocks = [block for part in inputs.parts for block in self.encoder.blocks(part)]
        states = [self._reached(block) for block in blocks]
        return StateRows.of(torch.cat(states), np.ones(len(inputs), np.int64))

    def _reached(self, pixels: Tensor) -> Tensor:
        return reached(lambda: self.lower(self.encoder.normalised(pixels)))

    def __call__(self, states: StateRows) -> Tensor:
        """Return raw vectors (n, dim)."""
        x = states.ids
        return cast("Tensor", self.upper(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x))


def last_picture_blocks(encoder: Any, count: int) -> LastBlocks:
    """Return the last blocks. Errors: `InputError` for a count out of range, and a network that cannot be divided."""
    checked_count(count, len(encoder.network.layers()) - 1, encoder.model)
    side = encoder.picture_size() or 0
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (TRIAL, side, side, 3), np.uint8))
    device = encoder.mean.device
    try:
        last = LastPictureBlocks(encoder, count)
    except StopIteration:
        last = None
    return tried(last, encoder, PictureInputs((pixels,)).to(device), encoder.model)
