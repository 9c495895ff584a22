"""An objective over rows of floats for the tests: hide some of a row's features, and predict them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nearfar.compute.draws import Draws
from nearfar.contracts import Terms
from tests.training.floats import FEATURES, Floats


class Denoising(nn.Module):
    """Each feature is hidden with probability `share`; the hidden ones are predicted from the vector of the others.

    Rows have unequal numbers of hidden features, some none. The value is the mean squared error over all hidden ones.
    """

    def __init__(self, encoder: Any, share: float = 0.3, needs: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.share, self.needs = share, needs
        self.head: nn.Linear | None = None
        self.dim, self.dtype = encoder.dim, encoder.dtype

    def prepare(self, encoder: Any) -> None:
        """Make the head, from the run's random numbers."""
        if self.head is None:
            self.head = nn.Linear(encoder.dim, FEATURES).to(self.dtype)

    def hide(self, inputs: Floats, draws: Draws) -> tuple[Floats, tuple[Tensor, Tensor]]:
        """Return the rows with zeros for what is hidden, and the mask and the features."""
        hidden = draws.uniform(FEATURES) < self.share  # (n, f)
        return Floats(inputs.rows.masked_fill(hidden, 0.0)), (hidden, inputs.rows.to(self.dtype))

    def forward(self, encoder: Any, inputs: Floats, targets: tuple[Tensor, Tensor]) -> Terms:
        """Return the sum of squared errors of the hidden features, and their number."""
        assert self.head is not None
        hidden, features = targets
        errors = (self.head(encoder(inputs)) - features).square()
        return Terms(torch.where(hidden, errors, 0.0).sum(), int(hidden.sum()))
