"""The model's threads: texts of many requests wait in one queue and go through the encoder together, by their tokens.

A batch of many texts takes far less time than its texts one by one. A batch is what waits, the oldest first, up to a
number of tokens; the encoder itself orders it by length. Nothing waits for a batch to fill: texts gather while the
batches before them are computed. Two threads run the model, each on its share of the cores: the cores of one operation
wait for the slowest of them, and the event loop and other processes keep one of them busy now and then.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Encode = Callable[[Any], tuple[Vectors, Vectors]]  # inputs to unit vectors (n, d), and their lengths before (n,)
Why = Literal["no_vector", "broken"]  # of a text's failure: no known token; the model raises, or gives no unit vector
LEAST_NORM, UNIT = 1e-12, 1e-3  # a length below which there is no direction; how far from 1 a unit vector may be
LONGEST_WAIT = 60  # seconds that a caller is told to wait
log = logging.getLogger("nearfar.serving")


class QueueFull(Exception):
    """Too much waits already. seconds: after which a caller may try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s")
        self.seconds = seconds


class Draining(Exception):
    """No more is taken: the server ends."""


@dataclass(eq=False)
class EmbeddingJob:
    """The n texts of a request. vectors: (n, d), whole when `done` has a result. failed: why a row has none."""

    inputs: Any
    costs: npt.NDArray[np.int64]  # (n,) tokens
    vectors: Vectors
    failed: dict[int, Why] = field(default_factory=dict)
    done: Future[EmbeddingJob] = field(default_factory=Future)
    taken: int = 0  # rows that a batch has, or had
    left: int = 0  # rows that are not computed yet

    def take(self, room: int, *, at_least: int) -> slice:
        """Return the next rows whose tokens fit, and count them as taken."""
        fitting = int(np.searchsorted(np.cumsum(self.costs[self.taken :]), room, side="right"))
        rows = slice(self.taken, min(self.taken + max(fitting, at_least), len(self.costs)))
        self.taken = rows.stop
        return rows


@dataclass(eq=False)
class Call:
    """Something else that a thread of the model runs: a cross-encoder's scores."""

    function: Callable[[], Any]
    done: Future[Any] = field(default_factory=Future)


Part = tuple[EmbeddingJob, slice]  # some rows of a job


class ModelThreads:
    """The queue and the threads that empty it.

    Args:
        encode: inputs to vectors and lengths; it is called in these threads alone.
        dim: of the vectors.
        batch_tokens: of the batches that are computed at a time, at most, unless a single text has more.
        most_waiting: texts that wait, at most; a request that comes when nothing waits may have more.
        count: of threads, so many batches are computed at a time.
        share: is called in a thread before its batch, with the number of batches that the cores are shared by.
        observe: is called with the texts and tokens of each batch.
    """

    def __init__(
        self,
        encode: Encode,
        dim: int,
        *,
        batch_tokens: int = 4096,
        most_waiting: int = 4096,
        count: int = 1,
        share: Callable[[int], None] = lambda _: None,
        observe: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self._encode, self.dim, self.batch_tokens, self.most_waiting = encode, dim, batch_tokens, most_waiting
        self._share, self._observe = share, observe
        self._waiting: deque[EmbeddingJob | Call] = deque()
        self._rows = self._tokens = 0  # that wait
        self._running = 0  # batches and calls
        self._rate = 1000.0  # tokens a second, as measured lately
        self._changed = threading.Condition()
        self._calling = self._draining = False
        names = [f"nearfar-model-{number}" for number in range(count)]
        self._threads = [threading.Thread(target=self._loop, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of texts, and calls, that wait."""
        return self._rows

    @property
    def are_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, inputs: Any, costs: npt.NDArray[np.int64]) -> Future[EmbeddingJob]:
        """Let n texts wait for their vectors. costs: their tokens (n,). Errors: `QueueFull`, `Draining`."""
        n = len(costs)
        job = EmbeddingJob(inputs, costs, np.empty((n, self.dim), np.float32), left=n)
        if not n:
            job.done.set_result(job)
            return job.done
        self._add(job, n, int(costs.sum()))
        return job.done

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Let something else wait for a thread; of such calls one runs at a time. Errors: `QueueFull`, `Draining`."""
        call = Call(function)
        self._add(call, 1, 0)
        return call.done

    def drain(self) -> None:
        """Take no more from now on; what waits is still done."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self, patience: float | None = None) -> None:
        """Take no more, and wait for what waits; for so many seconds, or as long as it takes."""
        self.drain()
        end = None if patience is None else time.monotonic() + patience
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _add(self, item: EmbeddingJob | Call, rows: int, tokens: int) -> None:
        with self._changed:
            if self._draining:
                raise Draining("the server ends, and takes no more")
            if self._rows and self._rows + rows > self.most_waiting:
                raise QueueFull(min(LONGEST_WAIT, math.ceil(self._tokens / self._rate) or 1))
            item.done.set_running_or_notify_cancel()  # from here on nobody can cancel it, so a result can be set
            self._waiting.append(item)
            self._rows, self._tokens = self._rows + rows, self._tokens + tokens
            self._changed.notify()

    def _loop(self) -> None:
        while (taken := self._take()) is not None:
            with self._changed:
                # What comes alone has all cores; a thread that waits for a core would hold up the others.
                shared_by = 1 if self._running == 1 and self._first() is None else len(self._threads)
            self._share(shared_by)
            if isinstance(taken, Call):
                _run_call(taken)
                tokens = 0
            else:
                rows, tokens, start = *_size(taken), time.monotonic()
                self._run(taken)
                spent = max(time.monotonic() - start, 1e-6)
                self._observe(rows, tokens)
            with self._changed:
                if tokens:
                    self._rate = 0.8 * self._rate + 0.2 * self._running * tokens / spent
                self._running -= 1
                if isinstance(taken, Call):
                    self._calling = False
                    self._changed.notify()  # the next call, which had to wait for this one

    def _take(self) -> list[Part] | Call | None:
        """Return the next batch or call; None when there will be none."""
        with self._changed:
            while (first := self._first()) is None and (self._waiting or not self._draining):
                self._changed.wait()
            if first is None:
                return None
            self._running += 1
            if isinstance(first, Call):
                self._calling = True
                self._waiting.remove(first)
                self._rows -= 1
                taken: list[Part] | Call = first
            else:
                taken = self._batch(first)
            if self._waiting:
                self._changed.notify()  # a large request is announced once, and may be work for several threads
            return taken

    def _first(self) -> EmbeddingJob | Call | None:
        """Return the oldest that may run now: while a call runs, texts pass those that wait for its end."""
        return next((one for one in self._waiting if not (self._calling and isinstance(one, Call))), None)

    def _batch(self, first: EmbeddingJob) -> list[Part]:
        """Take the rows of a job, and of those that follow it up to the next call, as far as their tokens fit."""
        batch: list[Part] = []
        room = max(1, self.batch_tokens // len(self._threads))
        job: EmbeddingJob | Call | None = first
        while room > 0 and isinstance(job, EmbeddingJob):
            rows = job.take(room, at_least=0 if batch else 1)
            if rows.start < rows.stop:
                batch.append((job, rows))
                room -= int(job.costs[rows].sum())
            if job.taken < len(job.costs):
                break
            self._waiting.remove(job)
            job = self._first()
        taken_rows, taken_tokens = _size(batch)
        self._rows, self._tokens = self._rows - taken_rows, self._tokens - taken_tokens
        return batch

    def _run(self, batch: list[Part]) -> None:
        """Compute a batch; where that raises, its texts one by one, so that only those fail which are to blame."""
        try:
            parts = [job.inputs[rows] for job, rows in batch]
            vectors, norms = self._encode(parts[0].join(parts[1:]) if len(parts) > 1 else parts[0])
        except BaseException:  # a library's panic is no Exception, and would end the thread
            if _size(batch)[0] > 1:
                for one in _one_by_one(batch):
                    self._run([one])
                return
            log.exception("the model failed on a text")
            self._deliver(*batch[0], None, {batch[0][1].start: "broken"})
            return
        start = 0
        for job, rows in batch:
            own = slice(start, start + rows.stop - rows.start)
            self._deliver(job, rows, vectors[own], _failures(vectors[own], norms[own], rows.start))
            start = own.stop

    def _deliver(self, job: EmbeddingJob, rows: slice, vectors: Vectors | None, failed: dict[int, Why]) -> None:
        """Put the vectors of some rows where they belong; several threads may have rows of one job."""
        if vectors is not None:
            job.vectors[rows] = vectors
        with self._changed:
            job.failed |= failed
            job.left -= rows.stop - rows.start
            is_whole = not job.left
        if is_whole:
            job.done.set_result(job)


def _size(batch: list[Part]) -> tuple[int, int]:
    """Return the number of texts of a batch, and of their tokens."""
    return sum(rows.stop - rows.start for _, rows in batch), sum(int(job.costs[rows].sum()) for job, rows in batch)


def _one_by_one(batch: list[Part]) -> Iterator[Part]:
    for job, rows in batch:
        for row in range(rows.start, rows.stop):
            yield job, slice(row, row + 1)


def _failures(vectors: Vectors, norms: Vectors, first: int) -> dict[int, Why]:
    """Return the rows without a vector, and why: what is not finite and of unit length never leaves."""
    with np.errstate(all="ignore"):
        unit = np.abs(np.linalg.norm(vectors, axis=1) - 1) < UNIT  # False for what is not finite
    bad = np.flatnonzero(~unit | ~(norms > LEAST_NORM) | ~np.isfinite(norms))
    return {first + int(row): "no_vector" if norms[row] <= LEAST_NORM else "broken" for row in bad}


def _run_call(call: Call) -> None:
    try:
        call.done.set_result(call.function())
    except BaseException as error:  # it goes to who waits for it
        call.done.set_exception(error)
