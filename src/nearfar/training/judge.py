"""The judge: evaluates where it is due, and says when patience has run out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nearfar.contracts import Encoder
from nearfar.errors import InputError, nearest
from nearfar.model import Model
from nearfar.ranks import Ranks
from nearfar.training.keeper import Keeper
from nearfar.training.settings import Settings
from nearfar.training.watch import Watch

Evaluate = Callable[[Model], Mapping[str, float]]


class Judge:
    """Evaluates the encoder as it is; rank 0 does so, and all know what it found."""

    def __init__(
        self, evaluate: Evaluate | None, encoder: Encoder, settings: Settings, keeper: Keeper, watch: Watch
    ) -> None:
        self.evaluate, self.encoder, self.settings, self.keeper, self.watch = evaluate, encoder, settings, keeper, watch

    def __call__(self, step: int, ranks: Ranks) -> bool:
        """Evaluate, where it is due; say whether this is the best so far."""
        if self.evaluate is None or not (due(step, self.settings.evaluate_every) or step == self.watch.start.steps):
            return False
        best, memory = ranks.lead(lambda: self._judged(step))
        self.keeper.memory.update(memory)
        return best

    def _judged(self, step: int) -> tuple[bool, dict[str, Any]]:
        assert self.evaluate is not None
        metrics = {name: float(value) for name, value in self.evaluate(Model(self.encoder)).items()}
        self.watch.note("evaluate", step=step, metrics=metrics)
        self.watch.warn(step, _unknown_best(self.settings, metrics))
        found = self.keeper.judged(step, metrics, self.settings.best)
        best, patience = self.keeper.best, self.settings.patience * self.settings.evaluate_every
        self.keeper.memory["stopped"] = best is not None and 0 < patience <= step - best["step"]
        return found, self.keeper.memory


def due(step: int, every: int) -> bool:
    """Say whether what happens every so many steps, 0 for never, happens after this one."""
    return every > 0 and step % every == 0


def _unknown_best(settings: Settings, metrics: Mapping[str, float]) -> str | None:
    """Say that the best cannot be known, if it matters."""
    if settings.best in metrics or not settings.evaluate_every:
        return None
    message = f"training.best: no metric {settings.best!r}; {nearest(settings.best, metrics)}"
    if settings.patience:
        raise InputError(message)
    return f"{message}; no checkpoint is kept as the best"
