"""The judge: evaluates where it is due, and says when patience has run out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self, cast

import torch
from torch import nn

from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.errors import InputError, nearest
from nearfar.model import Model
from nearfar.training.batches import BatchReader, PreparedBatch, uncached_stores
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.log import RunLogger
from nearfar.training.mixture import mix
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.step import RowEncoder, micro_batches, stacked

Evaluate = Callable[[Model], Mapping[str, float]]
NAME = "heldout_loss"


class Evaluator:
    """Evaluates the encoder as it is; rank 0 does so, and all know what it found."""

    def __init__(
        self,
        evaluate: Evaluate | None,
        encoder: Encoder,
        settings: Settings,
        checkpointer: Checkpointer,
        logger: RunLogger,
    ) -> None:
        self.evaluate, self.encoder, self.settings, self.checkpointer, self.logger = (
            evaluate,
            encoder,
            settings,
            checkpointer,
            logger,
        )

    def __call__(self, step: int, ranks: Ranks) -> bool:
        """Evaluate, where it is due; say whether this is the best so far."""
        if self.evaluate is None or not (due(step, self.settings.evaluate_every) or step == self.logger.start.steps):
            return False
        best, memory = ranks.lead(lambda: self._judged(step))
        self.checkpointer.memory.update(memory)
        return best

    def _judged(self, step: int) -> tuple[bool, dict[str, Any]]:
        assert self.evaluate is not None
        metrics = {name: float(value) for name, value in self.evaluate(Model(self.encoder)).items()}
        self.logger.note("evaluate", step=step, metrics=metrics)
        self.logger.warn(step, _unknown_best(self.settings, metrics))
        found = self.checkpointer.judged(step, metrics, self.settings.best)
        best, patience = self.checkpointer.best, self.settings.patience * self.settings.evaluate_every
        self.checkpointer.memory["stopped"] = best is not None and 0 < patience <= step - best["step"]
        return found, self.checkpointer.memory


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


class HeldoutLoss:
    """The mean loss of fixed batches of held-out examples, with the weights as they are.

    `heldout_examples` of the split are taken, the same each time, in batches as large as training's, at least one of
    them: the number of negatives is that of training where the split has as many rows, and only then the two losses may
    be compared. There is no dropout and no gradient, and no queue; views are drawn once.

    When not to use it: where dropout alone tells two views apart (SimCSE). Without it they are one vector, and the loss
    says no more than how evenly the vectors lie.
    """

    def __init__(self, positives: Positives, loss: Loss, settings: Settings, encode: RowEncoder) -> None:
        self.positives, self.encoder, self.loss, self.encode = positives, encode.encoder, loss, encode
        self.settings = replace(settings, queue=0, momentum=0.0, mixing="proportional", one_data_set=False)

    @classmethod
    def of(
        cls, heldout: Positives | Sequence[Positives] | None, loss: Loss, settings: Settings, encode: RowEncoder
    ) -> Self | None:
        """Return what computes it; None without a split of two examples at least, or where it is not wanted."""
        positives = None if heldout is None else mix(heldout, apart=settings.apart)
        if positives is None or len(positives) < 2 or not settings.heldout_examples:
            return None
        return cls(positives, loss, settings, encode)

    @cached_property
    def batches(self) -> list[PreparedBatch]:
        """The held-out batches, read once."""
        stores = uncached_stores(self.encoder, self.positives)
        sampler = Sampler.of(self.positives, self.settings)
        count = max(1, min(self.settings.heldout_examples, len(self.positives)) // sampler.batch_size)
        read = BatchReader(self.positives, stores, sampler, self.settings, Ranks(), self.encoder)
        return [read(step) for step in range(count)]

    @torch.no_grad()
    def __call__(self) -> float:
        """Return the loss. Errors: `InputError` where the loss refuses the batch (no negatives, no grades)."""
        modules = [cast("nn.Module", part) for part in (self.encoder, self.loss)]
        training = [module.training for module in modules]
        for module in modules:
            module.eval()
        try:
            return sum(self._of(batch) for batch in self.batches) / len(self.batches)
        finally:
            for module, before in zip(modules, training, strict=True):
                module.train(before)

    def _of(self, batch: PreparedBatch) -> float:
        share, (query_views, key_views) = batch.trained, (self.positives.query_views, self.positives.key_views)
        vectors = self.encode.without_graph(share.inputs, micro_batches(share.inputs, self.settings))
        views = dict(zip(share.sizes, torch.split(vectors, list(share.sizes.values())), strict=True))
        queries = stacked(views, query_views)
        keys = queries if key_views == query_views else stacked(views, key_views)
        with torch.autocast(self.encode.device.type, torch.bfloat16, enabled=self.encode.precision == "bf16"):
            return float(self.loss(queries, keys, batch.pairs))


def with_heldout_loss(evaluate: Evaluate | None, held: HeldoutLoss | None, logger: RunLogger) -> Evaluate | None:
    """Return an evaluation that gives the held-out loss beside what `evaluate` gives.

    A split that the loss refuses is told of, and left out.
    """
    if held is None:
        return evaluate

    def judged(model: Model) -> Mapping[str, float]:
        metrics = {} if evaluate is None else dict(evaluate(model))
        try:
            return {**metrics, NAME: held()}
        except InputError as error:
            logger.warn(logger.step, f"no {NAME}: {error}")
            return metrics

    return judged
