"""Reading batches ahead of the step: the pairs of the whole batch, and the inputs of this rank's rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from nearfar.abilities import augmented_views
from nearfar.column import Column, Ids, take
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Batch, Encoder, Inputs, Positives, Side, Store
from nearfar.pairs import Pairs
from nearfar.text.prompts import prompted, side_of
from nearfar.training.augment import augment
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.train_module import queued_examples

T = TypeVar("T")


@dataclass(frozen=True)
class StepOutput:
    """The loss of a batch (a scalar), its queries (n, d) and its keys (m, d), of all ranks, without gradient."""

    loss: Tensor
    queries: Tensor
    keys: Tensor


@dataclass(frozen=True)
class BatchReader:
    """Reads the batch of any step, a pure function of the seed and the step, so that a thread can read ahead.

    Every rank makes the pairs of the whole batch, which is cheap, and reads only its own rows.
    """

    positives: Positives
    stores: Mapping[str, Store]
    sampler: Sampler
    settings: Settings
    ranks: Ranks
    encoder: Encoder

    def __call__(self, step: int) -> PreparedBatch:
        """Return the batch of a step (from 0)."""
        examples = self.sampler.batch(step)
        queued = queued_examples(self.sampler, step, self.settings.queue) if self.settings.queue else None
        batch = self.positives.batch(examples) if queued is None else self.positives.batch(examples, queued)
        query_views, key_views = self.positives.query_views, self.positives.key_views
        sizes = {view: size for view in dict.fromkeys([*query_views, *key_views]) if (size := len(batch.rows[view]))}
        inputs = {view: self._inputs(batch, view, examples, step) for view in sizes}
        momentum = _stacked_inputs(inputs, key_views) if self.settings.momentum else None
        trained = _stacked_inputs(inputs, query_views if momentum else list(sizes))
        n_queued = 0 if queued is None else len(queued)
        return PreparedBatch(step, examples, trained, momentum, sizes, n_queued, batch.pairs, batch.positive_index)

    def _inputs(self, batch: Batch, view: str, examples: Ids, step: int) -> Inputs:
        """Return the inputs of this rank's rows of a view: from its store, or augmented anew."""
        span = self.ranks.span(len(batch.rows[view]))
        rows = batch.rows[view][span]
        if view not in augmented_views(self.positives):
            return self.stores[view][rows]
        index = batch.example_index.get(view, np.arange(len(examples)))[span]
        seed = np.full(len(index), self.settings.seed)
        seeds = np.stack([seed, self.sampler.epochs(step)[index], examples[index]], 1)  # (r, 3)
        return augment(self.positives, self.encoder, view, rows, seeds)


@dataclass(frozen=True)
class PreparedBatch:
    """A batch with the inputs that a step encodes.

    step: from 0. examples (b,). trained: the inputs of the trained encoder; momentum: those of the momentum encoder, if
    there is one. sizes: the number of rows of each view that has any, on all ranks. queued: how many of the keys, the
    last ones, are in the queue. positive_index: see `Batch`.
    """

    step: int
    examples: Ids
    trained: StackedInputs
    momentum: StackedInputs | None
    sizes: dict[str, int]
    queued: int
    pairs: Pairs
    positive_index: Ids | None = None


@dataclass(frozen=True)
class StackedInputs:
    """This rank's inputs of some views, stacked for one forward pass, and the number of rows of each view."""

    inputs: Inputs
    sizes: dict[str, int]


def _stacked_inputs(inputs: Mapping[str, Inputs], views: Sequence[str]) -> StackedInputs:
    by_view = {view: inputs[view] for view in dict.fromkeys(views) if view in inputs}
    first, *others = by_view.values()
    return StackedInputs(first.join(others), {view: len(part) for view, part in by_view.items()})


def prefetch(read: Callable[[int], T], first: int, stop: int) -> Generator[T, None, None]:
    """Yield read(first) to read(stop - 1); a thread reads each while the caller works on the one before.

    An error of `read` is raised where its result would be yielded. A caller that stops early must close the iterator,
    which waits for the read in progress.
    """
    if first >= stop:
        return
    with ThreadPoolExecutor(1, "nearfar-ahead") as thread:
        ahead = thread.submit(read, first)
        for step in range(first + 1, stop):
            result = ahead.result()
            ahead = thread.submit(read, step)
            yield result
        yield ahead.result()


@dataclass(frozen=True)
class UncachedStore:
    """A store that makes the inputs of rows each time they are read."""

    side: Side
    column: Column

    def __getitem__(self, rows: Ids) -> Inputs:
        return self.side.inputs(take(self.column, rows))


def uncached_stores(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Return an uncached store of every view, with prompts."""
    return {
        view: UncachedStore(side_of(encoder, positives, view), prompted(encoder, positives, view))
        for view in positives.views
    }
