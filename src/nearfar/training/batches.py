"""Reading a batch: the pairs of all its rows, and the inputs of this rank's share of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nearfar.column import Column, Ids, take
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Batch, Encoder, Inputs, Positives, Side, Store
from nearfar.pairs import Pairs
from nearfar.text.prompts import prompted, side_of
from nearfar.training.augment import augment, augmented_views
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.train_module import queued

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """What one encoder eats on this rank: its rows of some views one after the other, and how many of each."""

    inputs: Inputs
    sizes: dict[str, int]


@dataclass(frozen=True)
class PreparedBatch:
    """A batch as a step eats it.

    step: from 0; examples: the batch's; trained: for the trained encoder, momentum: for the momentum encoder, if there
    is one; sizes: of the whole views that have rows; queued: how many of the pairs' keys, the last ones, lie in the
    queue; positive_index: where the examples' own keys lie, if they are not the first.
    """

    step: int
    examples: Ids
    trained: Share
    momentum: Share | None
    sizes: dict[str, int]
    queued: int
    pairs: Pairs
    positive_index: Ids | None = None


@dataclass(frozen=True)
class BatchReader:
    """Reads any step's batch, a pure function of the seed and the step; it may run ahead in a thread.

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
        waiting = queued(self.sampler, step, self.settings.queue) if self.settings.queue else None
        batch = self.positives.batch(examples) if waiting is None else self.positives.batch(examples, waiting)
        query_views, key_views = self.positives.query_views, self.positives.key_views
        sizes = {view: size for view in dict.fromkeys([*query_views, *key_views]) if (size := len(batch.rows[view]))}
        own = {view: self._inputs(batch, view, examples, step) for view in sizes}
        momentum = _share(own, key_views) if self.settings.momentum else None
        trained = _share(own, query_views if momentum else list(sizes))
        old = 0 if waiting is None else len(waiting)
        return PreparedBatch(step, examples, trained, momentum, sizes, old, batch.pairs, batch.positive_index)

    def _inputs(self, batch: Batch, view: str, examples: Ids, step: int) -> Inputs:
        """Return this rank's rows of a view: as they were read once, or seen anew."""
        span = self.ranks.span(len(batch.rows[view]))
        rows = batch.rows[view][span]
        if view not in augmented_views(self.positives):
            return self.stores[view][rows]
        example = batch.example_index.get(view, np.arange(len(examples)))[span]
        seeds = np.full(len(example), self.settings.seed)
        draws = np.stack([seeds, self.sampler.passes(step)[example], examples[example]], 1)  # (r, 3)
        return augment(self.positives, self.encoder, view, rows, draws)


def _share(inputs: Mapping[str, Inputs], views: Sequence[str]) -> Share:
    parts = {view: inputs[view] for view in dict.fromkeys(views) if view in inputs}
    first, *others = parts.values()
    return Share(first.join(others), {view: len(part) for view, part in parts.items()})


def prefetch(read: Callable[[int], T], first: int, stop: int) -> Generator[T, None, None]:
    """Yield read(first) ... read(stop - 1), each read in a thread while the caller works on the one before.

    An error in `read` is raised here, in its turn. Close the iterator where the caller leaves early: that waits for
    the read under way.
    """
    if first >= stop:
        return
    with ThreadPoolExecutor(1, "nearfar-ahead") as thread:
        coming = thread.submit(read, first)
        for step in range(first + 1, stop):
            ready = coming.result()
            coming = thread.submit(read, step)
            yield ready
        yield coming.result()


@dataclass(frozen=True)
class UncachedStore:
    """A column whose rows are made into inputs when they are asked for."""

    side: Side
    column: Column

    def __getitem__(self, rows: Ids) -> Inputs:
        return self.side.inputs(take(self.column, rows))


def uncached_stores(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Return such a store of every view, with prompts."""
    views = positives.views
    return {v: UncachedStore(side_of(encoder, positives, v), prompted(encoder, positives, v)) for v in views}
