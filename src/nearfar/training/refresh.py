"""Hard negatives that are mined again and again in a run, on the current weights."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import Minable
from nearfar.column import Ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, MinedNegatives, Positives
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.training.batches import BatchReader, PreparedBatch, prefetch
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.log import RunLogger
from nearfar.training.mixture import Mixture
from nearfar.training.settings import Settings
from nearfar.training.validation_rows import Kept, without_validation

ARTEFACT = "negatives"  # the name of the mined rows in a checkpoint


class NegativeRefresh:
    """The positives of a run with the negatives that were mined last.

    Rank 0 mines, and all ranks get its negatives. They are saved in checkpoints, so a resumed run has the very same; a
    run that was stopped before it could mine does so, on the same weights, when it is resumed. Mining leaves the random
    numbers of training as they were. Keys of validation examples (`kept`) are no negatives.
    """

    def __init__(
        self,
        miner: Miner | None,
        encoder: Encoder,
        positives: Positives,
        settings: Settings,
        checkpointer: Checkpointer,
        logger: RunLogger,
        ranks: Ranks,
        kept: Kept | None = None,
    ) -> None:
        self.miner, self.encoder, self.unmined, self.settings = miner, encoder, positives, settings
        self.checkpointer, self.logger, self.ranks, self.kept = checkpointer, logger, ranks, kept
        self.positives = positives
        if miner is not None and ARTEFACT in checkpointer.artefacts:
            self._use_artefact()

    def batches(self, read_batch: BatchReader, first: int, stop: int) -> Generator[PreparedBatch, None, None]:
        """Yield the batches of the steps `first` to `stop` - 1; none that follows a refresh is read before it."""
        refreshes = [step for step in range(first + 1, stop) if self.due(step)]
        for start, end in pairwise([first, *refreshes, stop]) if first < stop else ():
            self.refresh(start)  # does nothing where the training loop has done it, before it wrote a checkpoint
            with closing(prefetch(replace(read_batch, positives=self.positives), start, end)) as batches:
                yield from batches

    def due(self, step: int) -> bool:
        """Return whether negatives are mined after a step; never after the last, as nothing would learn from them."""
        return self.miner is not None and step in refresh_steps(self.settings, self.logger.plan.steps)

    def refresh(self, step: int) -> None:
        """Mine, if it is due after this step and was not done before."""
        if not self.due(step) or self.checkpointer.memory.get("refreshed") == step:
            return
        of_first_rank: list[MinedNegatives] = []

        def run_miner() -> dict[str, Any]:
            of_first_rank.append(self._mine(step))
            return of_first_rank[0].facts

        facts = self.ranks.on_first_rank(run_miner)
        rows = [torch.from_numpy(np.ascontiguousarray(mined.rows, np.int64)) for mined in of_first_rank]
        self.checkpointer.artefacts = self.ranks.broadcast_named({ARTEFACT: rows[0]} if rows else {})
        self.checkpointer.memory["refreshed"] = step
        self._use_artefact()
        self.logger.log("refresh", step=step, **facts)
        if not facts["found"]:
            why = "its ranks, margins or scores leave none, or all keys have one vector"
            self.logger.warn(step, f"mining found no negative: {why}")

    def _mine(self, step: int) -> MinedNegatives:
        assert self.miner is not None
        device = next(cast("torch.nn.Module", self.encoder).parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = Model(self.encoder)
            model.bf16 = self.logger.plan.precision == "bf16"  # as in training, and twice as fast
            mined = self.miner(model, cast("Minable", self.unmined), step, self.logger.plan.steps)
        if self.kept is None:
            return mined
        return replace(mined, rows=without_validation(mined.rows, cast("Minable", self.unmined), self.kept.validation))

    def _use_artefact(self) -> None:
        rows = self.checkpointer.artefacts[ARTEFACT].numpy()
        self.positives = cast("Minable", self.unmined).with_negatives(rows)


class Miner(Protocol):
    """Mines negatives with a model: what `fit` takes as `refresh`, for training imports nothing of mining."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that must be the same for a run to be resumed, nested under the recipe's names."""
        ...

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        """Return each example's negatives after `step` of `steps`: a pure function of all four."""
        ...

    def random_negatives(self, positives: Minable) -> Ids:
        """Return as many negatives as would be mined, drawn at random, (n, k), for a dry run."""
        ...


def refresh_steps(settings: Settings, steps: int) -> range:
    """Return the steps after which a run of so many steps mines; 0 is before the first step."""
    every = settings.refresh_every or steps
    return range(0 if settings.refresh_first else every, steps, every)


def refuse_unminable(miner: Miner | None, positives: Positives, settings: Settings) -> None:
    """Refuse mining that cannot be done or never would be, before any data is read.

    Positives are asked with no negatives, so that settings of theirs which allow none are refused now, and not when the
    first ones are mined.

    Errors: `InputError` for positives that take no mined negatives, for settings without a miner, and the reverse.
    """
    scheduled = settings.refresh_every > 0 or settings.refresh_first
    if miner is None:
        if scheduled:
            raise InputError(
                "training.refresh_every: there is nothing to refresh with; add a section mining to the recipe (in "
                "Python: fit(..., refresh=...)), or leave refresh_every and refresh_first out"
            )
        return
    if not scheduled:
        raise InputError("training.refresh_every: say every how many steps to mine, or leave mining (refresh=) out")
    for part in positives.parts if isinstance(positives, Mixture) else [positives]:
        if not isinstance(part, Minable):
            raise InputError(
                f"training.refresh_every: positives.{registry.name_of(type(part))} takes no mined negatives; leave "
                "mining out, or take positives.columns"
            )
        part.with_negatives(np.empty((len(part), 0), np.int64))
