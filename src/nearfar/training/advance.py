"""One step from a batch to moved weights, told of; numbers that are not finite end the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from nearfar.contracts import Positives
from nearfar.errors import RunError
from nearfar.training.keeper import Keeper
from nearfar.training.read import Prepared
from nearfar.training.step import Step
from nearfar.training.watch import Watch


@dataclass(frozen=True)
class Advance:
    """Moves the weights by one batch; clip: the longest gradient.

    Errors: `RunError` where the loss, the gradient or, when asked, a weight is not finite: with the batch's rows and
    the last good checkpoint.
    """

    forth_and_back: Step
    rate: LambdaLR
    positives: Positives
    clip: float
    keeper: Keeper
    watch: Watch

    def __call__(self, step: int, prepared: Prepared) -> tuple[float, float]:
        """Make step `step` (from 1); return the loss and the gradient's norm."""
        moving = self.forth_and_back.moving
        outcome = self.forth_and_back(prepared)
        norm, loss = moving.clip(self.clip), outcome.loss.item()
        if not math.isfinite(loss + norm):
            raise self._failed(step, prepared, loss, norm)
        used = float(self.rate.get_last_lr()[0])
        moving.step()
        self.rate.step()
        self.forth_and_back.moved(prepared, outcome)
        self.watch.stepped(step, outcome, prepared.pairs, norm, used)
        return loss, norm

    def check(self, step: int, prepared: Prepared, loss: float, norm: float) -> None:
        """Look whether this step went too far, before the weights are kept or used."""
        if not self.forth_and_back.moving.finite():
            raise self._failed(step, prepared, loss, norm)

    def _failed(self, step: int, prepared: Prepared, loss: float, norm: float) -> RunError:
        return self.watch.failed(step, loss, norm, self._rows(prepared), self.keeper.last)

    def _rows(self, prepared: Prepared) -> list[Any]:
        """Return the rows of the data that a batch holds."""
        told = zip(prepared.examples.tolist(), self.positives.describe(prepared.examples), strict=True)
        return [facts.get("row", example + 1) for example, facts in told]
