"""The harvest of many distributions: from the cache where it is known, else over worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from nearfar.data.harvest import worker as cache
from nearfar.data.harvest.distributions import Distribution, File
from nearfar.data.harvest.parse import Limits
from nearfar.data.harvest.worker import Job, harvest
from nearfar.errors import RunError

_JOB_BYTES = 1_000_000
_JOB_FILES = 200
_WORTH_WORKERS = 4_000_000  # bytes; below, starting processes takes longer than parsing
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass
class Harvest:
    """Rows of all distributions in order, the number of files by outcome, and what the cache did."""

    table: pa.Table
    outcomes: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    unwritable: int = 0


def harvest_all(
    distributions: Sequence[Distribution], limits: Limits, workers: int | None, progress: bool | None
) -> Harvest:
    """Return the rows of all distributions; their order is the distributions', whatever the number of workers.

    Errors: RunError when a worker dies.
    """
    known = [cache.load(distribution, limits) for distribution in distributions]
    result = Harvest(pa.table({}), cached=sum(found is not None for found in known))
    todo = {number: _jobs(distributions[number], limits) for number, found in enumerate(known) if found is None}
    size = sum(job.size for jobs in todo.values() for job in jobs)
    if workers is None:
        workers = available_cores() if size >= _WORTH_WORKERS else 1
    with _progress_bar(size, progress) as advance:
        for number, table, outcomes in _harvest_todo(todo, workers, advance):
            result.unwritable += not cache.store(distributions[number], limits, table, outcomes)
            known[number] = table, outcomes
    for found in known:
        if found:
            result.outcomes += found[1]
    result.table = pa.concat_tables(found[0] for found in known if found)
    return result


def _jobs(distribution: Distribution, limits: Limits) -> list[Job]:
    jobs: list[Job] = []
    files: list[File] = []
    size = 0
    for file in distribution.files:
        files.append(file)
        size += file.size
        if size >= _JOB_BYTES or len(files) == _JOB_FILES:
            jobs.append(Job(distribution.name, tuple(files), limits))
            files, size = [], 0
    return [*jobs, Job(distribution.name, tuple(files), limits)] if files or not jobs else jobs


def _harvest_todo(
    todo: dict[int, list[Job]], workers: int, advance: Callable[[int], object]
) -> Iterator[tuple[int, pa.Table, Counter[str]]]:
    """Yield each distribution's number, rows and outcomes as soon as its last job is done."""
    jobs = [(number, place, job) for number, parts in todo.items() for place, job in enumerate(parts)]
    jobs.sort(key=lambda entry: -entry[2].size)  # long jobs first: no worker is left alone with one at the end
    done: dict[int, dict[int, tuple[pa.Table, Counter[str]]]] = {number: {} for number in todo}
    for index, found in run(harvest, [job for *_, job in jobs], workers):
        number, place, job = jobs[index]
        done[number][place] = found
        advance(job.size)
        if len(done[number]) == len(todo[number]):
            parts = [part for _, part in sorted(done.pop(number).items())]
            outcomes = sum((counts for _, counts in parts), Counter[str]())
            yield number, pa.concat_tables(table for table, _ in parts), outcomes


@contextlib.contextmanager
def _progress_bar(size: int, shown: bool | None) -> Iterator[Callable[[int], object]]:
    """Show a bar on standard error while bytes of source are read: if asked, or if somebody may be looking."""
    if not size or not (sys.stderr.isatty() if shown is None else shown):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=console.is_terminal) as bar:
        task = bar.add_task("reading Python source", total=size)
        yield lambda advance: bar.update(task, advance=advance)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(function: Callable[[Task], Result], jobs: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Yield each job's number and result as they are done; one worker is this process itself.

    Errors: RunError when a worker dies, as it does without memory.
    """
    if workers == 1 or multiprocessing.current_process().daemon:  # which may have no children
        yield from ((number, function(job)) for number, job in enumerate(jobs))
        return
    # spawn: a fork of a process that runs threads (torch, Arrow) may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(jobs)), context, _leave_interrupts_to_the_parent)
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
