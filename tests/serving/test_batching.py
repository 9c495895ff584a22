"""The queue and the model's threads: batches by tokens, a limit, and faults that stay where they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from nearfar.serving.batching import Draining, EmbeddingJob, ModelThreads, QueueFull
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
def threads(held: Held) -> Iterator[ModelThreads]:
    made = ModelThreads(held.encoded, held.dim, batch_tokens=6, most_waiting=8)
    yield made
    held.go.set()
    made.close(30)


def submit(threads: ModelThreads, *texts: str) -> Any:
    inputs = WordInputs(list(texts))
    return threads.submit(inputs, inputs.costs())


def wait_at_barrier(held: Held, threads: ModelThreads) -> Any:
    first = submit(threads, BARRIER)
    assert held.reached.wait(30)
    return first


def test_what_waits_goes_together_up_to_the_tokens(held: Held, threads: ModelThreads) -> None:
    wait_at_barrier(held, threads)
    jobs = [submit(threads, "a b", "c"), submit(threads, "d e"), submit(threads, "f g", "h"), submit(threads, "i")]
    assert threads.waiting == 6
    held.go.set()
    for job in jobs:
        job.result(30)
    # Six tokens at most: the fourth text of two does not fit, and the order of arrival is kept.
    assert held.batches == [[BARRIER], ["a b", "c", "d e"], ["f g", "h", "i"]]
    assert threads.waiting == 0


def test_a_request_may_be_cut_and_a_text_may_have_more_than_a_batch(held: Held, threads: ModelThreads) -> None:
    held.go.set()
    texts = ["one two three four", "a", "b b b", "c " * 9, "d"]
    done: EmbeddingJob = submit(threads, *texts).result(30)
    assert np.array_equal(done.vectors, held.of.embed(texts))
    assert held.batches == [texts[:2], texts[2:3], texts[3:4], texts[4:]]


def test_the_queue_has_a_limit_that_says_when_to_come_again(held: Held, threads: ModelThreads) -> None:
    wait_at_barrier(held, threads)
    last = submit(threads, *"abcdefgh")
    with pytest.raises(QueueFull) as full:
        submit(threads, "i")
    assert 1 <= full.value.seconds <= 60
    held.go.set()
    last.result(30)
    assert submit(threads, "i").result(30).failed == {}


def test_a_large_request_is_taken_where_nothing_waits(held: Held, threads: ModelThreads) -> None:
    held.go.set()
    assert len(submit(threads, *"abcdefghijklmnop").result(30).vectors) == 16


def test_a_batch_that_raises_is_tried_again_text_by_text(held: Held, threads: ModelThreads) -> None:
    wait_at_barrier(held, threads)
    jobs = [submit(threads, "a"), submit(threads, "b", "poison"), submit(threads, "c")]
    held.go.set()
    first, second, third = (job.result(30) for job in jobs)
    assert (first.failed, second.failed, third.failed) == ({}, {1: "broken"}, {})
    assert np.array_equal(third.vectors, held.of.embed(["c"]))


def test_rows_without_a_unit_vector_are_named(threads: ModelThreads, held: Held) -> None:
    held.go.set()
    assert submit(threads, "a", "zero", "nan").result(30).failed == {1: "no_vector", 2: "broken"}


def test_a_panic_does_not_end_the_thread(held: Held, threads: ModelThreads) -> None:
    class Panic(BaseException):
        pass

    def panics() -> Any:
        raise Panic

    held.go.set()
    with pytest.raises(Panic):
        threads.call(panics).result(30)
    assert threads.call(lambda: 3).result(30) == 3
    assert threads.are_alive


def test_what_waits_is_done_when_it_drains_and_no_more_is_taken(held: Held, threads: ModelThreads) -> None:
    first = wait_at_barrier(held, threads)
    second = submit(threads, "a")
    threads.drain()
    with pytest.raises(Draining):
        submit(threads, "b")
    held.go.set()
    threads.close(30)
    assert first.done()
    assert second.result(0).failed == {}
    assert not threads.are_alive


def test_several_threads_share_the_rows_of_one_request(held: Held) -> None:
    """Two batches of one job are at the barrier at once, and each finds that two share the cores."""
    shares: list[int] = []
    meet = threading.Barrier(2, timeout=30)

    def encode(inputs: WordInputs) -> Any:
        if any("meet" in cell for cell in inputs.cells):
            meet.wait()
        return held.encoded(inputs)

    made = ModelThreads(encode, held.dim, batch_tokens=2, count=2, share=shares.append)
    try:
        texts = ["meet one", "meet two", "three", "four five", "poison"]
        done: EmbeddingJob = submit(made, *texts).result(30)
        assert np.array_equal(done.vectors[:4], held.of.embed(texts[:4]))
        assert done.failed == {4: "broken"}
        assert shares[:2] == [2, 2]
    finally:
        made.close(30)
    assert not made.are_alive


def test_what_comes_alone_has_all_cores(held: Held) -> None:
    shares: list[int] = []
    made = ModelThreads(held.encoded, held.dim, count=2, share=shares.append)
    try:
        for _ in range(3):
            submit(made, "a b").result(30)
    finally:
        made.close(30)
    assert shares[0] == 1


def test_calls_run_one_at_a_time(held: Held) -> None:
    made = ModelThreads(held.encoded, held.dim, count=2)
    inside = threading.Lock()

    def alone() -> bool:
        free = inside.acquire(blocking=False)
        if free:
            time.sleep(0.01)
            inside.release()
        return free

    try:
        assert all(done.result(30) for done in [made.call(alone) for _ in range(8)])
    finally:
        made.close(30)


def test_texts_pass_the_calls_that_wait_for_another_call(held: Held) -> None:
    """With two threads one of them stays with the texts, however many calls wait; calls keep their order."""
    go, order = threading.Event(), list[int]()
    made = ModelThreads(held.encoded, held.dim, count=2)

    def first() -> None:
        assert go.wait(30)
        order.append(0)

    try:
        calls = [made.call(first), *(made.call(partial(order.append, i)) for i in (1, 2))]
        found = [submit(made, "a"), submit(made, "b c", "d")]
        assert [job.result(30).failed for job in found] == [{}, {}]
        assert not calls[0].done() and made.waiting == 2
        go.set()
        for call in calls:
            call.result(30)
        assert order == [0, 1, 2]
    finally:
        go.set()
        made.close(30)
    assert not made.are_alive


def test_no_text_is_done_at_once(held: Held, threads: ModelThreads) -> None:
    assert submit(threads).result(0).vectors.shape == (0, held.dim)
    held.go.set()
    assert submit(threads, "a").result(30).failed == {}


def test_who_leaves_while_it_waits_holds_up_nobody(held: Held, threads: ModelThreads) -> None:
    wait_at_barrier(held, threads)
    left, stays = submit(threads, "a"), submit(threads, "b")
    assert not left.cancel()  # a result can be set, whoever still waits for it
    held.go.set()
    assert np.array_equal(stays.result(30).vectors, held.of.embed(["b"]))


def test_two_threads_end_with_all_that_waited_done(held: Held) -> None:
    """Also where a batch of each fails as a whole, and calls wait among the texts."""
    held.go.set()
    made = ModelThreads(held.encoded, held.dim, batch_tokens=8, count=2)
    jobs = [submit(made, f"a{i}", "poison", f"b{i} c", *["d e f g"] * 3) for i in range(20)]
    calls = [made.call(partial(int, i)) for i in range(5)]
    made.close(30)
    assert not made.are_alive and made.waiting == 0
    assert [call.result(0) for call in calls] == [0, 1, 2, 3, 4]
    for i, job in enumerate(jobs):
        done: EmbeddingJob = job.result(0)
        texts = [f"a{i}", f"b{i} c", *["d e f g"] * 3]
        assert done.failed == {1: "broken"}
        assert np.array_equal(np.delete(done.vectors, 1, 0), held.of.embed(texts))
