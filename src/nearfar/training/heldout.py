"""The loss of a held-out split: what the training loss hides when a model learns by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Self, cast

import torch
from torch import nn

from nearfar.contracts import Loss, Positives
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.ranks import Ranks
from nearfar.training.direct import direct
from nearfar.training.encode import Encode
from nearfar.training.judge import Evaluate
from nearfar.training.micro import micro_batches
from nearfar.training.mixture import together
from nearfar.training.read import Prepared, Reader
from nearfar.training.sampler import Sampler
from nearfar.training.settings import Settings
from nearfar.training.step import stacked
from nearfar.training.watch import Watch

NAME = "heldout_loss"


class HeldOut:
    """The mean loss of fixed batches of held-out examples, with the weights as they are.

    `heldout_examples` of the split are taken, the same each time, in batches as large as training's, at least one of
    them: the number of negatives is that of training where the split has as many rows, and only then the two losses may
    be compared. There is no dropout and no gradient, and no queue; views are drawn once.

    When not to use it: where dropout alone tells two views apart (SimCSE). Without it they are one vector, and the loss
    says no more than how evenly the vectors lie.
    """

    def __init__(self, positives: Positives, loss: Loss, settings: Settings, encode: Encode) -> None:
        self.positives, self.encoder, self.loss, self.encode = positives, encode.encoder, loss, encode
        self.settings = replace(settings, queue=0, momentum=0.0, mixing="proportional", one_data_set=False)

    @classmethod
    def of(
        cls, heldout: Positives | Sequence[Positives] | None, loss: Loss, settings: Settings, encode: Encode
    ) -> Self | None:
        """Return what computes it; None without a split of two examples at least, or where it is not wanted."""
        positives = None if heldout is None else together(heldout, apart=settings.apart)
        if positives is None or len(positives) < 2 or not settings.heldout_examples:
            return None
        return cls(positives, loss, settings, encode)

    @cached_property
    def batches(self) -> list[Prepared]:
        """The held-out batches, read once."""
        stores = direct(self.encoder, self.positives)
        sampler = Sampler.of(self.positives, self.settings)
        count = max(1, min(self.settings.heldout_examples, len(self.positives)) // sampler.batch_size)
        read = Reader(self.positives, stores, sampler, self.settings, Ranks(), self.encoder)
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

    def _of(self, batch: Prepared) -> float:
        share, (query_views, key_views) = batch.learnt, (self.positives.query_views, self.positives.key_views)
        vectors = self.encode.without_graph(share.inputs, micro_batches(share.inputs, self.settings))
        views = dict(zip(share.sizes, torch.split(vectors, list(share.sizes.values())), strict=True))
        queries = stacked(views, query_views)
        keys = queries if key_views == query_views else stacked(views, key_views)
        with torch.autocast(self.encode.device.type, torch.bfloat16, enabled=self.encode.precision == "bf16"):
            return float(self.loss(queries, keys, batch.pairs))


def with_heldout_loss(evaluate: Evaluate | None, held: HeldOut | None, watch: Watch) -> Evaluate | None:
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
            watch.warn(watch.step, f"no {NAME}: {error}")
            return metrics

    return judged
