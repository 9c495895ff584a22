"""The harvest of many distributions: from the cache where their files are known, else by worker processes."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.data.harvest.distributions import Distribution, File
from nearfar.data.harvest.parse import Limits
from nearfar.data.harvest.worker import MAX_FILE, SCHEMA, Job, harvest
from nearfar.errors import InputError, RunError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.places import cache_root

_CACHE_FORMAT = 1  # raise it whenever the same files would give other rows
_TEMPORARY_OUTCOMES = ("missing", "unreadable")  # a later run may read these files, so without them nothing is cached
_JOB_BYTES = 1_000_000  # of source, at least, unless a job has the most files
_JOB_FILES = 200  # at most
_WORTH_WORKERS = 4_000_000  # bytes; below, starting processes takes longer than parsing
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass
class Harvest:
    """Rows of all distributions in order, the number of files by outcome, and how many distributions were cached."""

    table: pa.Table
    outcomes: Counter[str] = field(default_factory=Counter)
    cached: int = 0  # distributions read from the cache
    unwritable: int = 0  # distributions that could not be written to the cache


def harvest_all(
    distributions: Sequence[Distribution], limits: Limits, workers: int | None, progress: bool | None
) -> Harvest:
    """Return the rows of all distributions, in their order, whatever the number of workers.

    Errors: RunError when a worker dies.
    """
    known = [_load(distribution, limits) for distribution in distributions]
    result = Harvest(pa.table({}), cached=sum(found is not None for found in known))
    todo = {number: _jobs(distributions[number], limits) for number, found in enumerate(known) if found is None}
    size = sum(job.size for jobs in todo.values() for job in jobs)
    if workers is None:
        workers = available_cores() if size >= _WORTH_WORKERS else 1
    with progress_bar("reading Python source", size, progress) as advance:
        for number, table, outcomes in _harvest_jobs(todo, workers, advance):
            result.unwritable += not _store(distributions[number], limits, table, outcomes)
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


def _harvest_jobs(
    todo: dict[int, list[Job]], workers: int, advance: Callable[[int], object]
) -> Iterator[tuple[int, pa.Table, Counter[str]]]:
    """Yield each distribution's number, rows and outcomes as soon as its last job is done."""
    jobs = [(number, position, job) for number, parts in todo.items() for position, job in enumerate(parts)]
    jobs.sort(key=lambda entry: -entry[2].size)  # long jobs first, so that all workers end at about the same time
    done: dict[int, dict[int, tuple[pa.Table, Counter[str]]]] = {number: {} for number in todo}
    for index, found in run(harvest, [job for *_, job in jobs], workers):
        number, position, job = jobs[index]
        done[number][position] = found
        advance(job.size)
        if len(done[number]) == len(todo[number]):
            parts = [part for _, part in sorted(done.pop(number).items())]
            outcomes = sum((counts for _, counts in parts), Counter[str]())
            yield number, pa.concat_tables(table for table, _ in parts), outcomes


@contextlib.contextmanager
def progress_bar(
    what: str, total: int | None, shown: bool | None, *, of_bytes: bool = True
) -> Iterator[Callable[[int], object]]:
    """Show a bar on standard error over a number of bytes, or of things; for None, only if that is a terminal.

    total: None where it is not known. Yields what to call with each advance.
    """
    if total == 0 or not (sys.stderr.isatty() if shown is None else shown):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counted = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), counted, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda advance: bar.update(task, advance=advance)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(function: Callable[[Task], Result], jobs: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Yield each job's number and result as they are done; a single worker is this process itself.

    Errors: RunError when a worker dies, for example for lack of memory.
    """
    if workers == 1 or multiprocessing.current_process().daemon:  # a daemon may not start processes
        yield from ((number, function(job)) for number, job in enumerate(jobs))
        return
    # spawn: a fork of a process that runs threads (torch, Arrow) may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(jobs)), context, _ignore_interrupts)
    try:
        with hidden_main():
            numbers = {executor.submit(function, job): number for number, job in enumerate(jobs)}
        for future in as_completed(list(numbers)):
            yield numbers.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RunError("a worker process died, perhaps for lack of memory; try again with workers=1") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Start workers that do not import the caller's script: it may lack the `__name__` guard, or import torch."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _cache_file(distribution: Distribution, limits: Limits) -> Path:
    """Return a distribution's cache file: name, version and a hash of all that its rows depend on."""
    grammar = sys.version_info[:2]  # an older Python parses fewer files
    digest = fingerprint(
        distribution.name, distribution.version, distribution.digest, _CACHE_FORMAT, MAX_FILE, limits, grammar
    )
    stem = re.sub(r"[^\w.+-]", "_", f"{distribution.name}-{distribution.version}")
    # Not `cache_folder`, which raises an error where the cache cannot be written: the harvest works without.
    return cache_root() / "python_packages" / f"{stem}-{digest[:16]}.parquet"


def _load(distribution: Distribution, limits: Limits) -> tuple[pa.Table, Counter[str]] | None:
    """Return what `_store` wrote, or None where that is missing, damaged or of another schema."""
    try:
        with pq.ParquetFile(_cache_file(distribution, limits), page_checksum_verification=True) as file:
            table = file.read()
        outcomes = Counter[str](json.loads(table.schema.metadata[b"nearfar"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    if not table.schema.equals(SCHEMA):
        return None
    return table.replace_schema_metadata(None), outcomes


def _store(distribution: Distribution, limits: Limits, table: pa.Table, outcomes: Counter[str]) -> bool:
    """Write a distribution's rows to a temporary file, then rename it; return False where the cache is unwritable."""
    if any(outcomes[kind] for kind in _TEMPORARY_OUTCOMES):
        return True
    temporary: Path | None = None
    try:
        target = _cache_file(distribution, limits)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            with_outcomes = table.replace_schema_metadata({"nearfar": json.dumps(outcomes)})
            pq.write_table(with_outcomes, file, compression="zstd", use_dictionary=False, write_page_checksum=True)
        temporary.replace(target)
    except (OSError, InputError):  # no home, a full disk, no permission: the next harvest is slower, nothing worse
        if temporary:
            temporary.unlink(missing_ok=True)
        return False
    except BaseException:
        if temporary:
            temporary.unlink(missing_ok=True)
        raise
    return True
