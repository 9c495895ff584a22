"""Which weights of a run ship: those that are best on validation rows, which training does not see."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.column import Ids
from nearfar.compute.evaluating import evaluating
from nearfar.compute.fp32_products import product
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Values
from nearfar.training.batches import BatchReader, PreparedBatch, StackedInputs, uncached_stores
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.encode import RowEncoder, micro_batches
from nearfar.training.log import RunLogger
from nearfar.training.order import ChosenStream, EpochStream, Sampler
from nearfar.training.pair_ranks import reciprocal_ranks
from nearfar.training.step import GradientStep
from nearfar.training.validation import due
from nearfar.training.validation_rows import Kept

POOL = 1_000  # training examples, at most, among whose keys the validation queries look for theirs
VALIDATIONS = 2  # after the start, where the recipe gives no interval
METRIC = "validation_mrr"
KEPT_START = "no step of training beat the model it began from on the validation rows; the starting weights were kept"


class ValidationRanks:
    """The reciprocal rank of each validation query's best positive among the keys of validation and training rows.

    It is measured on the model that ships, by cosine, without dropout, always on the same rows. Training keys are among
    the candidates because so few keys as those of the validation rows are too easy to tell apart.

    When not to use it: where two views differ by dropout alone (SimCSE): without dropout they are the same vector.
    """

    def __init__(self, step: GradientStep, shipped: Encoder, kept: Kept) -> None:
        self.step, self.validation, n = step, kept.validation, len(kept.train)
        pool = kept.train[np.linspace(0, n - 1, min(POOL, n)).astype(np.int64)]
        self.examples = np.concatenate([kept.validation, pool])
        self.encode = RowEncoder(shipped, True, step.encode.device, step.encode.precision)
        micro = step.settings.micro_batch or step.settings.batch_size
        self.settings = replace(step.settings, queue=0, keys="same", momentum=0.0, micro_batch=micro, view_scale=1.0)

    @cached_property
    def batch(self) -> PreparedBatch:
        """The validation examples and the pool as one batch, read once."""
        n, encoder, positives = len(self.examples), self.step.encode.encoder, self.step.positives
        stream = ChosenStream(EpochStream(n, lambda _: np.arange(n)), self.examples)
        sampler = Sampler(n, n, self.settings.seed, stream=stream)
        stores = uncached_stores(encoder, positives)
        return BatchReader(positives, stores, sampler, self.settings, Ranks(), encoder)(0)

    @cached_property
    def judged(self) -> Ids:
        """The positions (q,) of the validation examples' queries in the batch, each distinct one once."""
        own = self.step.positives.batch(self.validation).pairs.query_item
        items, first = np.unique(self.batch.pairs.query_item.numpy(), return_index=True)
        return first[np.isin(items, own.numpy())]

    @torch.no_grad()
    def __call__(self) -> Values:
        """Return the reciprocal rank (q,) of each validation query; a tie with a negative counts against it."""
        module, trained = self.step.train_state.module, self.batch.trained
        assert trained is not None, "a loss has queries and keys"
        with evaluating(module):
            vectors = self._encode(trained)
        sizes, positives = trained.sizes, self.step.positives
        views = dict(zip(sizes, torch.split(vectors.cpu(), list(sizes.values())), strict=True))
        queries = torch.cat([views[view] for view in positives.query_views if view in views])  # (n, d)
        keys = torch.cat([views[view] for view in positives.key_views if view in views])  # (m, d)
        return reciprocal_ranks(product(queries, keys), self.batch.pairs)[self.judged]

    def _encode(self, stacked: StackedInputs) -> Tensor:
        """Return vectors (n, d); zeros for the queries of the pool, where they are a view of their own."""
        inputs, (view, *others) = stacked.inputs, self.step.positives.query_views
        n, first = len(self.examples), len(self.validation)
        if others or view in self.step.positives.key_views or stacked.sizes.get(view) != n:
            return self.encode.without_graph(inputs, micro_batches(inputs, self.settings))
        asked, keys = (
            self.encode.without_graph(part, micro_batches(part, self.settings)) for part in (inputs[:first], inputs[n:])
        )
        return torch.cat([asked, asked.new_zeros(n - first, asked.shape[1]), keys])


class WeightSelection:
    """Validates at the start, every so many steps and at the end; keeps the best weights, and restores them to ship.

    The best have the highest mean reciprocal rank (`ValidationRanks`), of equal ones the latest; the starting weights
    are kept where every later validation is below theirs. They lie in a checkpoint. Rank 0 validates, and all ranks get
    the result. Validation rows are few where pairs are few, so this stops what plainly hurts; it does not see what
    moves a hundredth.
    """

    def __init__(
        self, step: GradientStep, shipped: Encoder, kept: Kept, checkpointer: Checkpointer, logger: RunLogger
    ) -> None:
        self.measure = ValidationRanks(step, shipped, kept)
        self.ranks, self.patience = step.ranks, step.settings.patience
        self.checkpointer, self.logger, self.steps = checkpointer, logger, logger.plan.steps
        self.every = step.settings.validate_every or max(1, round(self.steps / VALIDATIONS))

    @property
    def best(self) -> dict[str, Any] | None:
        """The best validation so far: {"step", "value"}."""
        found: dict[str, Any] | None = self.checkpointer.memory["selected"]
        return found

    def due(self, step: int) -> bool:
        """Return whether the weights after this step are validated."""
        return step in (0, self.steps) or due(step, self.every)

    def begin(self, steps_done: int) -> None:
        """Validate and save the weights that training starts from, unless a resumed run has done so."""
        if steps_done == 0 and self.best is None and self(0):
            self.checkpointer.save(0)

    def __call__(self, step: int) -> bool:
        """Validate, if it is due after this step; return whether its weights are the best so far, to be saved.

        Patience runs out (`memory["stopped"]`) after so many validations without a better one.
        """
        if not self.due(step):
            return False
        value = self.ranks.on_first_rank(lambda: float(self.measure().mean()))
        self.logger.log("validate", step=step, metrics={METRIC: value})
        memory, best = self.checkpointer.memory, self.best
        if best is None or value >= best["value"]:
            memory["selected"] = {"step": step, "value": value}
            return True
        memory["stopped"] = 0 < self.patience * self.every <= step - best["step"]
        return False

    def finish(self) -> int:
        """Restore the best weights, and say so where these are the starting ones; return the step of what ships.

        Where their checkpoint is not whole, the last weights ship; then nothing was selected, and none is logged.
        """
        last, best = self.checkpointer.last, self.best
        assert best is not None and last is not None, "the start is validated, the end is saved"
        step = int(best["step"])
        if not self.checkpointer.restore_step(step):
            return last
        self.logger.log("select", step=step, metrics={METRIC: best["value"]})
        if step == 0:
            self.logger.warn(self.logger.step, KEPT_START)
        return step
