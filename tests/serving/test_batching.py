"""The queue and the model's thread: batches by tokens, a limit, and faults that stay where they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nearfar.serving.batching import Draining, EmbeddingJob, ModelThread, QueueFull
from tests.serving.word_model import ServableWords, WordInputs

BARRIER = "barrier"


class Held(ServableWords):
    """A model that waits at the text "barrier" until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.reached = threading.Event()

    def encoded(self, inputs: WordInputs) -> Any:
        if BARRIER in inputs.cells:
            self.reached.set()
            assert self.go.wait(30)
        return super().encoded(inputs)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def thread(held: Held) -> Iterator[ModelThread]:
    made = ModelThread(held.encoded, held.dim, batch_tokens=6, most_waiting=8)
    yield made
    held.go.set()
    made.close(30)


def submit(thread: ModelThread, *texts: str) -> Any:
    inputs = WordInputs(list(texts))
    return thread.submit(inputs, inputs.costs())


def wait_at_barrier(held: Held, thread: ModelThread) -> Any:
    first = submit(thread, BARRIER)
    assert held.reached.wait(30)
    return first


def test_what_waits_goes_together_up_to_the_tokens(held: Held, thread: ModelThread) -> None:
    wait_at_barrier(held, thread)
    jobs = [submit(thread, "a b", "c"), submit(thread, "d e"), submit(thread, "f g", "h"), submit(thread, "i")]
    assert thread.waiting == 6
    held.go.set()
    for job in jobs:
        job.result(30)
    # Six tokens at most: the fourth text of two does not fit, and the order of arrival is kept.
    assert held.batches == [[BARRIER], ["a b", "c", "d e"], ["f g", "h", "i"]]
    assert thread.waiting == 0


def test_a_request_may_be_cut_and_a_text_may_have_more_than_a_batch(held: Held, thread: ModelThread) -> None:
    held.go.set()
    texts = ["one two three four", "a", "b b b", "c " * 9, "d"]
    done: EmbeddingJob = submit(thread, *texts).result(30)
    assert np.array_equal(done.vectors, held.of.embed(texts))
    assert held.batches == [texts[:2], texts[2:3], texts[3:4], texts[4:]]


def test_the_queue_has_a_limit_that_says_when_to_come_again(held: Held, thread: ModelThread) -> None:
    wait_at_barrier(held, thread)
    last = submit(thread, *"abcdefgh")
    with pytest.raises(QueueFull) as full:
        submit(thread, "i")
    assert 1 <= full.value.seconds <= 60
    held.go.set()
    last.result(30)
    assert submit(thread, "i").result(30).failed == {}


def test_a_large_request_is_taken_where_nothing_waits(held: Held, thread: ModelThread) -> None:
    held.go.set()
    assert len(submit(thread, *"abcdefghijklmnop").result(30).vectors) == 16


def test_a_batch_that_raises_is_tried_again_text_by_text(held: Held, thread: ModelThread) -> None:
    wait_at_barrier(held, thread)
    jobs = [submit(thread, "a"), submit(thread, "b", "poison"), submit(thread, "c")]
    held.go.set()
    first, second, third = (job.result(30) for job in jobs)
    assert (first.failed, second.failed, third.failed) == ({}, {1: "broken"}, {})
    assert np.array_equal(third.vectors, held.of.embed(["c"]))


def test_rows_without_a_unit_vector_are_named(thread: ModelThread, held: Held) -> None:
    held.go.set()
    assert submit(thread, "a", "zero", "nan").result(30).failed == {1: "no_vector", 2: "broken"}


def test_a_panic_does_not_end_the_thread(held: Held, thread: ModelThread) -> None:
    class Panic(BaseException):
        pass

    def panics() -> Any:
        raise Panic

    held.go.set()
    with pytest.raises(Panic):
        thread.call(panics).result(30)
    assert thread.call(lambda: 3).result(30) == 3
    assert thread.is_alive


def test_what_waits_is_done_when_it_drains_and_no_more_is_taken(held: Held, thread: ModelThread) -> None:
    first = wait_at_barrier(held, thread)
    second = submit(thread, "a")
    thread.drain()
    with pytest.raises(Draining):
        submit(thread, "b")
    held.go.set()
    thread.close(30)
    assert first.done()
    assert second.result(0).failed == {}
    assert not thread.is_alive
