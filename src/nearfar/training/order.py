"""Which examples each step sees: a function of the seed and the step, so that a resumed run sees the same batches.

The examples of a run form one endless sequence, the stream; batches are consecutive blocks of it. `EpochStream` is the
stream of one data set, epoch after epoch; `MixedStream` that of several, interleaved by a `MixingSchedule`. Any part of
a stream is computed without the part before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.contracts import Positives
from nearfar.training.mixture import Mixture
from nearfar.training.settings import Auto, Settings, number

MAX_PERIOD = 1 << 16  # slots of a mixing schedule's period, where no shorter one has the exact shares


class Stream(Protocol):
    """An endless sequence of examples, of which any part is computed without the part before it."""

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples at the positions `start` to `stop`, (stop - start,)."""
        ...

    def epochs(self, start: int, stop: int) -> Ids:
        """Return the epoch of its data set that each of these positions belongs to, (stop - start,)."""
        ...


class Sampler:
    """The examples of each step: blocks of `batch_size` from a stream of n examples, by default of shuffled epochs.

    A batch may hold the end of one epoch and the start of the next, so every batch is full and every example is seen
    equally often; an example may be in such a batch twice. queue: how far back the stream is read again (its lookback).
    """

    def __init__(self, n: int, batch_size: int, seed: int, queue: int = 0, stream: Stream | None = None) -> None:
        self.n, self.batch_size = n, min(batch_size, n)
        self.stream: Stream = stream or EpochStream(n, ShuffledOrder(n, seed), queue)

    @classmethod
    def of(cls, positives: Positives, settings: Settings, chosen: Ids | None = None) -> Self:
        """Return the sampler that the settings ask for, of one data set or of a mixture.

        A proportional mixture is shuffled as if it were one data set; with another mixing, or with one data set a
        batch, each data set has a stream of its own (`MixedStream`). chosen: the examples (n,) to draw from, ascending;
        None for all.
        """
        n, (seed, queue) = len(positives) if chosen is None else len(chosen), (settings.seed, settings.queue)
        as_one = settings.mixing == "proportional" and not settings.one_data_set
        batch_size = min(settings.batch_size, n)
        stream: Stream = EpochStream(n, ShuffledOrder(n, seed), queue)
        if not as_one and isinstance(positives, Mixture):
            ends = positives.offsets if chosen is None else np.searchsorted(chosen, positives.offsets)
            sizes = np.diff(ends).tolist()
            schedule = MixingSchedule(quotas(sizes, settings.mixing, settings.mixing_temperature), seed)
            slot_size = batch_size if settings.one_data_set else 1
            stream = MixedStream(sizes, schedule, batch_size, slot_size=slot_size, seed=seed, queue=queue)
        return cls(n, batch_size, seed, queue, stream if chosen is None else ChosenStream(stream, chosen))

    def steps(self, epochs: float | Auto) -> int:
        """Return the number of steps of so many epochs; an epoch of a mixture is as long as all its data sets."""
        return max(1, round(number("epochs", epochs) * self.n / self.batch_size))

    def batch(self, step: int) -> Ids:
        """Return the examples of a step (from 0), (batch_size,)."""
        start = step * self.batch_size
        return self.stream(start, start + self.batch_size)

    def epochs(self, step: int) -> Ids:
        """Return the epoch (from 0) of its data set that each example of a step belongs to, (batch_size,)."""
        start = step * self.batch_size
        return self.stream.epochs(start, start + self.batch_size)


class EpochStream:
    """The stream of a data set of n examples: epoch after epoch, each with every example once.

    order: returns the examples of an epoch (n,), a pure function of its number. lookback: how many examples behind the
    latest one are read again (by the queue), so that their epochs' orders stay in memory.
    """

    def __init__(self, n: int, order: Callable[[int], Ids], lookback: int = 0) -> None:
        self.n, self.order, self.lookback = n, order, lookback
        self._orders: dict[int, Ids] = {}

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples at the positions `start` to `stop` of the stream, (stop - start,)."""
        parts = [np.empty(0, np.int64)]
        while start < stop:
            epoch, place = divmod(start, self.n)
            parts.append(self._order(epoch)[place : place + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def epochs(self, start: int, stop: int) -> Ids:
        """Return the epoch of each of these positions, (stop - start,)."""
        return np.arange(start, stop) // self.n

    def _order(self, epoch: int) -> Ids:
        if epoch not in self._orders:
            oldest = epoch - 1 - self.lookback // self.n
            self._orders = {e: order for e, order in self._orders.items() if oldest <= e < epoch}
            self._orders[epoch] = self.order(epoch)
        return self._orders[epoch]


class ChosenStream:
    """A stream of some examples only. stream: of their positions in `chosen` (n,)."""

    def __init__(self, stream: Stream, chosen: Ids) -> None:
        self.stream, self.chosen = stream, chosen

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples at the positions `start` to `stop` of the stream, (stop - start,)."""
        examples: Ids = self.chosen[self.stream(start, stop)]
        return examples

    def epochs(self, start: int, stop: int) -> Ids:
        """Return the epoch of each of these positions, (stop - start,)."""
        return self.stream.epochs(start, stop)


class ShuffledOrder:
    """The order of an epoch: a permutation of n examples, drawn by the seed, the epoch, and further numbers."""

    def __init__(self, n: int, seed: int, *further: int) -> None:
        self.n, self.seed, self.further = n, seed, further

    def __call__(self, epoch: int) -> Ids:
        """Return the examples of an epoch, (n,)."""
        return np.random.default_rng([self.seed, epoch, *self.further]).permutation(self.n)


class MixedStream:
    """The stream of several data sets, whose examples are numbered one data set after the other.

    sizes: of the data sets; schedule: which data set each slot of the stream is of; slot_size: examples of a slot, 1 or
    those of a batch. Each data set has an endless stream of its own, in which every example comes equally often. No
    example comes twice in a batch that takes no more of its data set than that has (see `NoRepeatOrder`).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        schedule: MixingSchedule,
        batch_size: int,
        *,
        slot_size: int = 1,
        seed: int = 0,
        queue: int = 0,
    ) -> None:
        self.schedule, self.slot_size, self.batch_size = schedule, slot_size, batch_size
        self.offsets = np.cumsum([0, *sizes])  # number of each data set's first example
        self.streams = []
        for d, n in enumerate(sizes):
            per_batch = batch_size if slot_size == batch_size else schedule.max_count(d, batch_size)
            order = NoRepeatOrder(n, ShuffledOrder(n, seed, d + 1), per_batch, partial(self._batch_of, d))
            self.streams.append(EpochStream(n, order, queue))

    def __call__(self, start: int, stop: int) -> Ids:
        """Return the examples at the positions `start` to `stop` of the stream, (stop - start,)."""
        examples = np.empty(stop - start, np.int64)
        for d, index, first in self._by_dataset(start, stop):
            examples[index] = self.offsets[d] + self.streams[d](first, first + len(index))
        return examples

    def epochs(self, start: int, stop: int) -> Ids:
        """Return the epoch of its own data set that each of these positions belongs to, (stop - start,)."""
        epochs = np.empty(stop - start, np.int64)
        for d, index, first in self._by_dataset(start, stop):
            epochs[index] = self.streams[d].epochs(first, first + len(index))
        return epochs

    def _by_dataset(self, start: int, stop: int) -> Iterator[tuple[int, Ids, int]]:
        """Yield each data set in start..stop, the indices of its positions, and where they begin in its own stream."""
        dataset = self.schedule.dataset_of(np.arange(start, stop) // self.slot_size)
        for d in np.unique(dataset).tolist():
            yield d, np.flatnonzero(dataset == d), self._count_before(d, start)

    def _count_before(self, d: int, position: int) -> int:
        """Return how many of the positions before this one are data set d's."""
        slot, rest = np.divmod(np.array([position]), self.slot_size)
        begun = np.where(self.schedule.dataset_of(slot) == d, rest, 0)  # positions of the slot that is not complete
        return int((self.schedule.count_before(d, slot) * self.slot_size + begun)[0])

    def _batch_of(self, d: int, position: int) -> tuple[int, int]:
        """Return the (start, stop) in data set d's own stream of the batch that holds this position of it."""
        i, rest = divmod(position, self.slot_size)
        start = (self.schedule.slot(d, i) * self.slot_size + rest) // self.batch_size * self.batch_size
        return self._count_before(d, start), self._count_before(d, start + self.batch_size)


class NoRepeatOrder:
    """Shuffled epochs, changed so that a batch that spans two epochs holds no example twice.

    Examples that such a batch has from the old epoch are moved back in the new epoch, behind that batch. The end of an
    epoch is never changed, so an epoch depends on the shuffle of the one before it and on no earlier one.

    per_batch: examples of this data set in a batch, at most; batch_of: returns the (start, stop) in this data set's
    stream of the batch that holds a position of it. Where a batch takes more than half of the data set, there is no
    place to move examples to, and all epochs have the same order. A batch then holds no example twice either, or, where
    it is larger than the data set, each example equally often, give or take one.
    """

    def __init__(
        self, n: int, shuffled: Callable[[int], Ids], per_batch: int, batch_of: Callable[[int], tuple[int, int]]
    ) -> None:
        self.n, self.shuffled, self.per_batch, self.batch_of = n, shuffled, per_batch, batch_of

    def __call__(self, epoch: int) -> Ids:
        """Return the examples of an epoch, (n,)."""
        if 2 * self.per_batch - 1 > self.n:
            return self.shuffled(0)
        order = self.shuffled(epoch)
        begin, end = epoch * self.n, (epoch + 1) * self.n
        start, stop = self.batch_of(begin)
        old, new = begin - start, stop - begin  # examples of either epoch in the batch in which this one begins
        if epoch == 0 or old == 0:
            return order
        free = self.n - (end - self.batch_of(end)[0])  # positions before the batch in which this epoch ends
        unseen = np.flatnonzero(~np.isin(order[:free], self.shuffled(epoch - 1)[self.n - old :]))[:new]
        return np.concatenate([order[unseen], np.delete(order, unseen)])


class MixingSchedule:
    """Which data set each slot of a mixed stream is of: a periodic sequence, quotas[d] slots a period for data set d.

    A data set's slots are spaced evenly over the period, from a start that the seed draws, so that any number of slots
    holds each data set's share to within a few. How many it has had is looked up, not counted.
    """

    def __init__(self, quotas: Sequence[int], seed: int) -> None:
        self.quotas = list(quotas)
        dataset = np.repeat(np.arange(len(self.quotas)), self.quotas)  # (p,)
        place = np.concatenate([np.arange(quota) for quota in self.quotas])  # (p,)
        starts = np.random.default_rng([seed, len(self.quotas)]).random(len(self.quotas))
        time = (place + starts[dataset]) / np.array(self.quotas)[dataset]
        self.period = dataset[np.argsort(time, kind="stable")]  # (p,)
        self.slots = [np.flatnonzero(self.period == d) for d in range(len(self.quotas))]  # of each data set, (quota,)

    def dataset_of(self, slots: Ids) -> Ids:
        """Return the data set of each slot."""
        dataset: Ids = self.period[slots % len(self.period)]
        return dataset

    def count_before(self, d: int, slots: Ids) -> Ids:
        """Return, for each slot, how many of those before it are data set d's."""
        periods, rest = np.divmod(slots, len(self.period))
        return periods * self.quotas[d] + np.searchsorted(self.slots[d], rest)

    def slot(self, d: int, i: int) -> int:
        """Return the slot that is data set d's i-th, from 0."""
        periods, rest = divmod(i, self.quotas[d])
        return periods * len(self.period) + int(self.slots[d][rest])

    def max_count(self, d: int, slots: int) -> int:
        """Return how many of so many consecutive slots are data set d's, at most."""
        start: npt.NDArray[np.int64] = np.arange(len(self.period))
        return int((self.count_before(d, start + slots) - self.count_before(d, start)).max())


def quotas(sizes: Sequence[int], mixing: str, temperature: float) -> list[int]:
    """Return how many slots of a period each data set gets, at least one each.

    proportional: as its size, in the shortest period with these shares, or rounded to `MAX_PERIOD` slots; round_robin:
    one; temperature: as its size to the power of 1 / temperature, rounded likewise (Arivazhagan et al. 2019,
    arXiv:1907.05019, section 4.2; Devlin's multilingual BERT of 2018 has exponent 0.7).
    """
    if mixing == "round_robin":
        return [1] * len(sizes)
    if mixing == "temperature" or sum(sizes) // math.gcd(*sizes) > MAX_PERIOD:
        exponent = 1 / temperature if mixing == "temperature" else 1.0
        shares = (np.array(sizes) / max(sizes)) ** exponent
        sizes = [max(1, round(share)) for share in (shares / shares.sum() * MAX_PERIOD).tolist()]
    return [size // math.gcd(*sizes) for size in sizes]
