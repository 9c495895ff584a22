"""What is made anew from the weights as they are, every so many steps: mined negatives."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import torch

from nearfar import registry
from nearfar.column import Ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Minable, MinedNegatives, Positives
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.training.batches import BatchReader, PreparedBatch, prefetch
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.log import RunLogger
from nearfar.training.mixture import Mixture
from nearfar.training.settings import Settings

ARTEFACT = "negatives"  # its name in a checkpoint


class Miner(Protocol):
    """Mines negatives on some weights; it is given to `fit`, which knows nothing of mining."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a run to be resumed, nested under the recipe's names."""
        ...

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        """Return each example's negatives after `step` of `steps`: a pure function of all four."""
        ...

    def by_chance(self, positives: Minable) -> Ids:
        """Return as many negatives as there will be, of no meaning: what a dry run measures with."""
        ...


class NegativeRefresh:
    """The positives as the next step is to see them: with the negatives that were mined last.

    Rank 0 mines, all take what it found. The rows go into the checkpoint, so that a resumed run has the very same; of a
    run that was stopped before it could mine, they are mined on the same weights. Random numbers go on as if nothing
    had happened.
    """

    def __init__(
        self,
        refresh: Miner | None,
        encoder: Encoder,
        positives: Positives,
        settings: Settings,
        checkpointer: Checkpointer,
        logger: RunLogger,
        ranks: Ranks,
    ) -> None:
        self.refresh, self.encoder, self.base, self.settings = refresh, encoder, positives, settings
        self.checkpointer, self.logger, self.ranks = checkpointer, logger, ranks
        self.positives = positives
        if refresh is not None and ARTEFACT in checkpointer.artefacts:
            self.positives = self._with(checkpointer.artefacts[ARTEFACT].numpy())

    def due(self, step: int) -> bool:
        """Say whether negatives are mined after a step; not after the last, for nothing would learn from them."""
        return self.refresh is not None and step in refresh_steps(self.settings, self.logger.start.steps)

    def __call__(self, step: int) -> None:
        """Mine, where it is due after this step and was not done before."""
        if not self.due(step) or self.checkpointer.memory.get("refreshed") == step:
            return
        found: list[MinedNegatives] = []
        facts = self.ranks.lead(lambda: self._mined(step, found))
        tensors = {ARTEFACT: torch.from_numpy(np.ascontiguousarray(found[0].rows, np.int64))} if found else {}
        self.checkpointer.artefacts = self.ranks.spread(tensors)
        self.checkpointer.memory["refreshed"] = step
        self.positives = self._with(self.checkpointer.artefacts[ARTEFACT].numpy())
        self.logger.note("refresh", step=step, **facts)
        if not facts["found"]:
            self.logger.warn(step, "mining found no negative: its ranks, margins or scores leave none")

    def batches(self, read: BatchReader, first: int, last: int) -> Generator[PreparedBatch, None, None]:
        """Yield the batches of steps first to last - 1; none that follows a refresh is read before it."""
        marks = [first, *(step for step in range(first + 1, last) if self.due(step)), last]
        for start, stop in pairwise(marks) if first < last else ():
            self(start)  # nothing, where the loop has done it before its checkpoint
            with closing(prefetch(replace(read, positives=self.positives), start, stop)) as batches:
                yield from batches

    def _mined(self, step: int, found: list[MinedNegatives]) -> dict[str, Any]:
        assert self.refresh is not None
        module = cast("torch.nn.Module", self.encoder)
        device = next(module.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = Model(self.encoder)
            model.bf16 = self.logger.start.precision == "bf16"  # as training sees them, and twice as fast
            result = self.refresh(model, cast("Minable", self.base), step, self.logger.start.steps)
        found.append(result)
        return result.facts

    def _with(self, rows: Ids) -> Positives:
        return cast("Minable", self.base).with_negatives(rows)


def refresh_steps(settings: Settings, steps: int) -> range:
    """Return the steps after which a run of so many mines; 0 is before the first."""
    every = settings.refresh_every or steps
    return range(0 if settings.refresh_first else every, steps, every)


def refuse_unminable(refresh: Miner | None, positives: Positives, settings: Settings) -> None:
    """Refuse, before anything is read, a refresh that cannot be or would never be.

    Errors: `InputError` for positives that take no mined negatives; for settings without a refresh, or the reverse.
    """
    asked = settings.refresh_every > 0 or settings.refresh_first
    if refresh is None:
        if asked:
            raise InputError(
                "training.refresh_every: there is nothing to refresh with; add a section mining to the recipe (in "
                "Python: fit(..., refresh=...)), or leave refresh_every and refresh_first out"
            )
        return
    if not asked:
        raise InputError("training.refresh_every: say every how many steps to mine, or leave mining (refresh=) out")
    for part in positives.parts if isinstance(positives, Mixture) else [positives]:
        if not hasattr(part, "with_negatives"):
            raise InputError(
                f"training.refresh_every: positives.{registry.name_of(type(part))} takes no mined negatives; leave "
                "mining out, or take positives.columns"
            )
