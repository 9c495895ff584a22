"""The harvest of many distributions: from the cache where it is known, else over worker processes."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from nearfar.data import _harvest_cache as cache
from nearfar.data._distributions import Distribution
from nearfar.data._harvest import File, Job, harvest
from nearfar.data._parallel import available_cores, run
from nearfar.data._slices import Limits

_JOB_BYTES = 1_000_000
_JOB_FILES = 200
_WORTH_WORKERS = 4_000_000  # bytes; below, starting processes takes longer than parsing


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
