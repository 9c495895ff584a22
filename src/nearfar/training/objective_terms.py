"""The objective's part of a step: its gradient over micro-batches and ranks, and its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from nearfar.compute.ranks import Ranks
from nearfar.contracts import Objective, Positives
from nearfar.errors import InputError
from nearfar.training.batch_statistics import batch_norms
from nearfar.training.batches import PreparedBatch
from nearfar.training.encode import RowEncoder, micro_batches
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.train_module import Trained


@dataclass(frozen=True)
class ObjectiveTerms:
    """Computes weight x total / count of a batch, where both sums are over all micro-batches and ranks."""

    objective: Objective
    encode: RowEncoder
    settings: Settings
    ranks: Ranks
    weight: float
    synchronised: bool = False  # the encoder or the objective has batch norm

    @classmethod
    def of(cls, trained: Trained, encode: RowEncoder, settings: Settings, ranks: Ranks) -> Self | None:
        """Return the terms of a run's objective; None without one."""
        if trained.objective is None:
            return None
        has_statistics = bool(batch_norms(trained.objective) or batch_norms(trained.encoder))
        return cls(trained.objective, encode, settings, ranks, trained.weight, has_statistics)

    def backward(self, prepared: PreparedBatch, train_state: TrainState) -> Tensor:
        """Return the value, a scalar; this rank's summand of its gradient is then in the parameters' `grad`.

        The gradient of the sum is divided at the end, when the count of the global batch is known; so this comes before
        the loss adds its own. A batch in which nothing was hidden has the value 0 and no gradient.
        """
        sums = self.sums(prepared, backward=True)
        self.ranks.all_reduce([sums])
        total, count = sums.tolist()
        factor = self.weight / count if count else 0.0
        with torch.no_grad():
            for parameter in train_state.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        return torch.tensor(total * factor, dtype=torch.float64, device=self.encode.device)

    def sums(self, prepared: PreparedBatch, *, backward: bool) -> Tensor:
        """Return the total and the count of this rank's rows, (2,) float64; backward: with a pass from the total."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.encode.device)
        if prepared.hidden is None or prepared.draws is None:
            return sums
        if not len(prepared.draws) and not self.synchronised:  # other ranks wait for no statistics of these rows
            return sums
        inputs = prepared.hidden.inputs
        for part in micro_batches(inputs, self.settings):
            rows, draws = inputs[part].to(self.encode.device), prepared.draws[part].to(self.encode.device)
            changed, targets = self.objective.hide(rows, draws)
            with self.encode.autocast():
                terms = self.objective(self.encode.encoder, changed, targets)
            if backward and terms.count and terms.total.requires_grad:
                torch.autograd.backward(terms.total)
            if terms.count:  # else the total is a sum over nothing, and may be no number
                sums += torch.stack([terms.total.detach().double(), sums.new_tensor(float(terms.count))])
        return sums


def hidden_views(objective: Objective | None, positives: Positives) -> Sequence[str]:
    """Return the views that an objective reads; of a mixture, those of every data set.

    Errors: `InputError` for a view that it needs and that does not exist.
    """
    if objective is None:
        return []
    needs: Any = objective.needs
    if isinstance(needs, str):
        raise InputError(f"objective: needs is a tuple of views, it is the text {needs!r}; write ({needs!r},)")
    if not objective.needs:
        return list(positives.views)
    found = [view for view in positives.views for need in objective.needs if view == need or view.endswith(f"/{need}")]
    for need in objective.needs:
        if not any(view == need or view.endswith(f"/{need}") for view in found):
            raise InputError(f"objective: it needs the view {need!r}; there are {', '.join(positives.views)}")
    return found
