"""The last layers of a packed transformer, over the hidden states that the layers below give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.abilities import LastBlocks
from nearfar.encoders.pretrained import backbone
from nearfar.encoders.reading.last_blocks import checked_count, from_block, reached, tried, until_block, with_parts
from nearfar.encoders.reading.stored_states import StateRows
from nearfar.encoders.reading.tokens import Tokens
from nearfar.errors import InputError


class LastLayers:
    """See `abilities.LastBlocks`: the last `count` layers of `Transformer`, with what follows them.

    What reaches them has one state for a token, (t, width). encoder: a `Transformer`, which has these as its own.
    """

    def __init__(self, encoder: Any, count: int) -> None:
        model = encoder.backbone
        layers = backbone.layers(model)[-count:]
        self.encoder, self.first = encoder, layers[0]
        below = {id(parameter) for layer in backbone.layers(model)[:-count] for parameter in layer.parameters()}
        below |= {id(parameter) for parameter in backbone.embeddings(model).parameters()}
        self.parameters: Sequence[nn.Parameter] = [
            p for part in (model, encoder.after) for p in part.parameters() if id(p) not in below
        ]
        self.lower = with_parts(encoder, backbone=until_block(model, self.first))
        self.upper = with_parts(encoder, backbone=from_block(model, self.first))

    @torch.no_grad()
    def below(self, inputs: Tokens) -> StateRows:
        """Return the states (t, width) that reach the layers, of each token."""
        run = self.encoder.packed_states
        if len(inputs) == 0:
            empty = torch.zeros(0, self.encoder.width, device=inputs.ids.device)
            return StateRows.of(empty, inputs.costs())
        parts = list(run(inputs, np.argsort(-inputs.costs(), kind="stable"), self._reached))
        tokens = torch.cat([tokens for _, tokens, _ in parts])  # (t,)
        states = torch.cat([states for states, _, _ in parts])[tokens.argsort()]
        return StateRows.of(states, inputs.costs())

    def _reached(self, ids: Tensor, packing: Any) -> Tensor:
        return reached(lambda: self.lower.hidden_states(ids, packing))[0]

    def __call__(self, states: StateRows) -> Tensor:
        """Return raw vectors (n, dim)."""
        return cast("Tensor", self.upper(states))


def last_layers(encoder: Any, count: int) -> LastBlocks:
    """Return the last layers. Errors: `InputError` for a count out of range, and a model that cannot be divided."""
    name = str(encoder.model or "the model")
    checked_count(count, len(backbone.layers(encoder.backbone)), name)
    if not encoder.packed or encoder.lora is not None:
        why = "it has LoRA, which trains all layers" if encoder.packed else "its texts are padded"
        raise InputError(f"encoder.unlock: {name} cannot be divided, for {why}; leave unlock out")
    lengths = np.array([min(3, encoder.max_length or 3), 1])
    device = next(encoder.parameters()).device
    trial = Tokens.of(torch.zeros(int(lengths.sum()), dtype=torch.int64, device=device), lengths)
    return tried(LastLayers(encoder, count), encoder, trial, name)
