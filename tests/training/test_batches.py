from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from nearfar.training.batches import prefetch


def test_all_in_order_and_not_one_too_many() -> None:
    steps: list[int] = []

    def read(step: int) -> int:
        steps.append(step)
        return step * step

    assert list(prefetch(read, 2, 6)) == [4, 9, 16, 25]
    assert steps == [2, 3, 4, 5]


@pytest.mark.parametrize(("first", "stop"), [(3, 3), (4, 3)])
def test_nothing_to_read(first: int, stop: int) -> None:
    assert list(prefetch(lambda step: pytest.fail("read"), first, stop)) == []


def test_the_next_is_read_meanwhile() -> None:
    second = threading.Event()

    def read(step: int) -> int:
        if step == 1:
            second.set()
        return step

    with closing(prefetch(read, 0, 3)) as batches:
        assert next(batches) == 0
        assert second.wait(10)


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_error_is_raised_in_its_turn(bad: int) -> None:
    def read(step: int) -> int:
        if step == bad:
            raise ValueError(f"row {step}")
        return step

    seen: list[int] = []
    with pytest.raises(ValueError, match=f"row {bad}"), closing(prefetch(read, 0, 4)) as batches:
        seen.extend(batches)
    assert seen == list(range(bad))


def test_leaving_early_waits_for_the_read_under_way() -> None:
    running = threading.Event()

    def read(step: int) -> int:
        running.set()
        time.sleep(0.05)
        running.clear()
        return step

    with closing(prefetch(read, 0, 100)) as batches:
        next(batches)
    assert not running.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nearfar-ahead")]
