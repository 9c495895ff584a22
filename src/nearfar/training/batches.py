"""Reading batches ahead of the step: the pairs of the whole batch, and the inputs of this rank's rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nearfar.abilities import augmented_views, batch_of, store_at
from nearfar.column import Column, Ids, take
from nearfar.compute.draws import Draws
from nearfar.compute.ranks import Ranks
from nearfar.compute.scheduled import value_at
from nearfar.contracts import Batch, Encoder, Inputs, Positives, Side, Store
from nearfar.pairs import Pairs
from nearfar.sides import side_of
from nearfar.text.prompts import prompted
from nearfar.training.augment import augment
from nearfar.training.order import Sampler
from nearfar.training.own_keys import OwnKeys
from nearfar.training.settings import Settings
from nearfar.training.train_module import queued_examples

T = TypeVar("T")
HIDING = 1 << 20  # the first stream of the objective's random numbers; those of augmented views are below


@dataclass(frozen=True)
class StepOutput:
    """The loss of a batch (a scalar), its queries (n, d) and its keys (m, d), of all ranks, without gradient.

    queries and keys are None where an objective is trained alone. objective: its weighted term, where there is a loss
    beside it.
    """

    loss: Tensor
    queries: Tensor | None = None
    keys: Tensor | None = None
    objective: Tensor | None = None


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
    hidden_views: Sequence[str] = ()  # those that the objective reads
    steps: int | None = None  # of the whole run; None reads all as at its end

    def __call__(self, step: int) -> PreparedBatch:
        """Return the batch of a step (from 0)."""
        examples, settings = self.sampler.batch(step), self.settings
        queued = queued_examples(self.sampler, step, settings.queue) if settings.queue else None
        further = None if settings.keys == "neighbours" else queued  # neighbours are in the place of keys
        batch = batch_of(self.positives, examples, further, self.sampler.epochs(step))
        own = None if queued is further or queued is None else self._own_keys(batch, examples, queued)
        query_views, key_views = self.positives.query_views, self.positives.key_views
        read = dict.fromkeys([*query_views, *key_views, *self.hidden_views])
        sizes = {view: size for view in read if (size := len(batch.rows[view]))}
        inputs = {view: self._inputs(batch, view, examples, step) for view in sizes}
        momentum = _stacked_inputs(inputs, key_views) if settings.keys == "momentum" else None
        trained = _stacked_inputs(inputs, query_views if momentum else [*query_views, *key_views])
        hidden = _stacked_inputs(inputs, self.hidden_views)
        draws = self._draws(batch, hidden, step) if hidden else None
        n_queued = 0 if further is None else len(further)
        return PreparedBatch(
            step, examples, trained, momentum, sizes, n_queued, batch.pairs, batch.positive_index, hidden, draws, own
        )

    @cached_property
    def _own_keys(self) -> OwnKeys:
        return OwnKeys(self.positives)

    def _draws(self, batch: Batch, hidden: StackedInputs, step: int) -> Draws:
        """Return the random numbers of this rank's rows of the hidden views, by (seed, step, row) and view."""
        parts = []
        for stream, view in enumerate(self.hidden_views):
            if view in hidden.sizes:
                rows = batch.rows[view][self.ranks.span(len(batch.rows[view]))]
                fixed = np.full((len(rows), 2), [self.settings.seed, step])
                parts.append(Draws.of(np.column_stack([fixed, rows]), HIDING + stream).key)
        return Draws(torch.cat(parts))

    def _inputs(self, batch: Batch, view: str, examples: Ids, step: int) -> Inputs:
        """Return the inputs of this rank's rows of a view: from its store, or augmented anew."""
        span = self.ranks.span(len(batch.rows[view]))
        rows = batch.rows[view][span]
        streamed = augmented_views(self.positives).get(view)
        done = 1.0 if self.steps is None else step / self.steps
        if streamed is None:
            return store_at(self.stores[view], done)[rows]
        index = batch.example_index.get(view, np.arange(len(examples)))[span]
        seeds = streamed.seeds(self.settings.seed, self.sampler.epochs(step)[index], examples[index], rows)  # (r, 3)
        share = value_at(self.settings.view_scale, step, self.steps or 1)
        return augment(self.positives, self.encoder, view, rows, seeds, share, done)


@dataclass(frozen=True)
class PreparedBatch:
    """A batch with the inputs that a step encodes.

    step: from 0. examples (b,). trained: the inputs of the trained encoder; momentum: those of the momentum encoder, if
    there is one. sizes: the number of rows of each view that has any, on all ranks. queued: how many of the keys, the
    last ones, are in the queue. positive_index: see `Batch`. hidden: the inputs that the objective hides a part of,
    draws: their random numbers. own: the keys and the queued keys of one thing (`OwnKeys`), where keys are neighbours.
    """

    step: int
    examples: Ids
    trained: StackedInputs | None
    momentum: StackedInputs | None
    sizes: dict[str, int]
    queued: int
    pairs: Pairs
    positive_index: Ids | None = None
    hidden: StackedInputs | None = None
    draws: Draws | None = None
    own: tuple[Ids, Ids] | None = None


@dataclass(frozen=True)
class StackedInputs:
    """This rank's inputs of some views, stacked for one forward pass, and the number of rows of each view."""

    inputs: Inputs
    sizes: dict[str, int]


def _stacked_inputs(inputs: Mapping[str, Inputs], views: Sequence[str]) -> StackedInputs | None:
    """Return the inputs of some views, stacked; None where none of them has rows."""
    by_view = {view: inputs[view] for view in dict.fromkeys(views) if view in inputs}
    if not by_view:
        return None
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
