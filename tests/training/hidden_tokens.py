"""An objective over texts for the tests: hide some tokens, and predict them from the states of a transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nearfar.compute.draws import Draws
from nearfar.contracts import Terms


class HiddenTokens(nn.Module):
    """Each token but the first and the last is hidden with probability `share`, by the token 0, and predicted.

    Texts have unequal numbers of hidden tokens. The value is the mean cross-entropy over all of them.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, encoder: Any, share: float = 0.3) -> None:
        super().__init__()
        self.share, self.vocabulary = share, int(encoder.config["vocab_size"]) if "vocab_size" in encoder.config else 0
        self.head: nn.Linear | None = None

    def prepare(self, encoder: Any) -> None:
        """Make the output layer for the tokens that the encoder knows now."""
        if self.head is None:
            config = encoder.backbone.config
            self.head = nn.Linear(config.hidden_size, config.vocab_size)

    def hide(self, inputs: Any, draws: Draws) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the tokens with some hidden, the mask (t,) and the token ids (t,)."""
        lengths = torch.from_numpy(inputs.costs())
        below = draws.uniform(int(lengths.max())).cpu() < self.share  # (n, longest)
        place = torch.arange(below.shape[1])
        inside = (place > 0) & (place < lengths[:, None] - 1)
        hidden = (below & inside)[place < lengths[:, None]].to(inputs.ids.device)  # (t,)
        return replace(inputs, ids=inputs.ids.masked_fill(hidden, 0)), (hidden, inputs.ids)

    def forward(self, encoder: Any, inputs: Any, targets: tuple[Tensor, Tensor]) -> Terms:
        """Return the sum of the cross-entropies of the hidden tokens, and their number."""
        assert self.head is not None
        hidden, ids = targets
        states = encoder.states(inputs)
        assert np.array_equal(states.offsets.cpu().numpy(), inputs.offsets)
        logits = self.head(states.values[hidden]).float()
        return Terms(cross_entropy(logits, ids[hidden], reduction="sum"), int(hidden.sum()))
