"""Jobs over worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from nearfar.errors import RunError

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST = 61  # processes that a pool on Windows can wait for


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Result]]:
    """Yield each job's number and result as they are done; one worker is this process itself.

    Errors: RunError when a worker dies, as it does without memory.
    """
    if workers == 1 or multiprocessing.current_process().daemon:  # which may have no children
        yield from ((number, function(job)) for number, job in enumerate(jobs))
        return
    # spawn: a fork of a process that runs threads (torch, Arrow) may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(jobs), _MOST), context, _leave_interrupts_to_the_parent)
    try:
        with _hidden_main():
            numbers = {executor.submit(function, job): number for number, job in enumerate(jobs)}
        for future in as_completed(list(numbers)):
            yield numbers.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RunError("a worker process died, perhaps for lack of memory; try again with workers=1") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Start workers that do not import the caller's script: it may be unguarded by `__name__`, or import torch."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
