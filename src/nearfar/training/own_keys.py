"""Which queued keys are earlier ones of the same thing: NNCLR takes none of them for a key's neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearfar.column import Ids, equal_pairs
from nearfar.contracts import Batch, Positives
from nearfar.training.mixture import CHUNK


@dataclass(frozen=True)
class OwnKeys:
    """The things that the keys of a run are of: where a queue holds an earlier key of the same thing.

    Two keys are of one thing where their examples have the same positive, by its item in the pairs: an example in
    another epoch, and a copy of its content. A key of no one example, such as a mined negative, is of its own item.
    """

    positives: Positives

    def __call__(self, batch: Batch, examples: Ids, queued: Ids) -> tuple[Ids, Ids]:
        """Return all (i, j) where key i of a batch and the queued key j are of one thing.

        examples (b,): of the batch; queued (q,): those whose keys are in the queue, in its order.
        """
        return equal_pairs(self._of_keys(batch, examples), self._of_examples[queued])

    def _of_keys(self, batch: Batch, examples: Ids) -> Ids:
        """Return the thing that each key of a batch is of, (m,)."""
        things: Ids = batch.pairs.key_item.numpy().copy()
        start = 0
        for view in self.positives.key_views:
            rows = len(batch.rows[view])
            index = batch.example_index.get(view, np.arange(rows) if rows == len(examples) else None)
            if index is not None:
                things[start : start + rows] = self._of_examples[examples[index]]
            start += rows
        return things

    @cached_property
    def _of_examples(self) -> Ids:
        """The item of the positive of every example, (n,)."""
        return np.concatenate([np.zeros(0, np.int64), *self._items()])

    def _items(self) -> Iterator[Ids]:
        n = len(self.positives)
        for start in range(0, n, CHUNK):
            examples = np.arange(start, min(start + CHUNK, n))
            batch = self.positives.batch(examples)
            own = np.arange(len(examples)) if batch.positive_index is None else batch.positive_index
            yield batch.pairs.key_item.numpy()[own]
