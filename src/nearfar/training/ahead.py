"""Reading ahead: the next batch is read while this one is trained on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(read: Callable[[int], T], first: int, stop: int) -> Generator[T, None, None]:
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
