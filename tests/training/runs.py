"""Small real runs for the tests, in this process and in others that are interrupted or killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nearfar.column import Column, ListColumn
from nearfar.compute.ranks import Ranks
from nearfar.encoders.static import Static
from nearfar.errors import NearfarError
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.training.fit import Run, fit

PRELOADED = ["nearfar.training.fit", "nearfar.encoders.static", "nearfar.positives.columns", "torch._dynamo"]
SETTINGS: dict[str, Any] = {"batch_size": 16, "steps": 12, "device": "cpu", "precision": "fp32", "checkpoint_every": 4}


class Rows:
    """Columns in memory, as a data set."""

    def __init__(self, **cells: list[Any]) -> None:
        self.cells, self.columns = cells, list(cells)
        self.fingerprint = "rows"
        self.notes: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def column(self, name: str) -> Column:
        return ListColumn(name, self.cells[name])

    def split(self, name: str) -> Self:
        return self


def rows(n: int = 64, seed: int = 0) -> Rows:
    """Return n pairs of texts, each of a topic of its own and of words that all pairs share."""
    draw = random.Random(seed)
    shared = [f"w{draw.randrange(40)} w{draw.randrange(40)}" for _ in range(n)]
    return Rows(
        query=[f"topic{i} of {words}" for i, words in enumerate(shared)],
        key=[f"{words} tells topic{i} and w{draw.randrange(40)}" for i, words in enumerate(shared)],
    )


class Slow(InfoNCE):
    """InfoNCE that takes 10 ms longer, so that a run can be stopped between two steps."""

    def forward(self, *args: Any) -> torch.Tensor:
        time.sleep(0.01)
        return super().forward(*args)


def train(folder: Path, data: Rows | None = None, loss: InfoNCE | None = None, **more: Any) -> Run:
    """Train a small encoder."""
    encoder = more.pop("encoder", None) or Static(dim=16, vocabulary=300)
    return fit(encoder, Columns(data or rows()), loss or InfoNCE(), out=folder, quiet=True, **{**SETTINGS, **more})


def weights(run: Run) -> np.ndarray[Any, Any]:
    """Return a copy of the trained embedding table."""
    encoder = run.model.encoder
    assert isinstance(encoder, Static)
    return encoder.embedding.weight.detach().numpy().copy()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a full disk: Python ignores SIGXFSZ and gets an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def start_process(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Start a function in a process of its own, forked from a server that has already loaded torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=target, args=args)
    process.start()
    return process


def exit_code(process: ForkServerProcess) -> int | None:
    """Wait for a process and return its exit code (negative: the signal that killed it)."""
    process.join(300)  # far more than any takes, on a busy machine too
    if process.is_alive():
        process.kill()
        raise AssertionError("the run hangs")
    return process.exitcode


def kill_after(process: ForkServerProcess, run: Path, steps: int) -> None:
    """Kill a process (SIGKILL) when the events of its run tell of so many steps, before it ends by itself."""
    events = run / "events.jsonl"
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        if events.exists() and events.read_text().count('"event": "step"') >= steps:
            break
        time.sleep(0.002)
    assert process.pid is not None and process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def in_ranks(world_size: int, target: Callable[..., None], *args: Any) -> None:
    """Run target(ranks, *args) in one process a rank, as torchrun does; raise the errors of all."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as errors_folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        given = (world_size, port, Path(errors_folder), target, args)
        processes = [start_process(_rank, rank, *given) for rank in range(world_size)]
        codes = [exit_code(process) for process in processes]
        errors = [path.read_text() for path in sorted(Path(errors_folder).iterdir())]
        assert not any(codes), "\n".join([f"exit codes {codes}", *errors])


def _rank(
    rank: int, world_size: int, port: int, errors_folder: Path, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    variables: dict[str, Any] = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
    variables |= {"MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {name: str(value) for name, value in variables.items()}
    _reset_signals()
    torch.set_num_threads(1)
    ranks = Ranks.from_environment()
    ranks.open(torch.device("cpu"))
    try:
        target(ranks, *args)
    except BaseException:
        (errors_folder / f"rank {rank}").write_text(f"rank {rank}: {traceback.format_exc()}")
        sys.stdout.flush()
        os._exit(1)  # without the clean-up that waits for the other ranks


def slow_run(folder: Path, cache: Path, more: dict[str, Any]) -> None:
    """Train slowly, exit with the code of the command line, and write the error to error.txt beside the folder."""
    os.environ["NEARFAR_CACHE"] = str(cache)
    _reset_signals()
    torch.set_num_threads(1)
    if more.pop("wait", False):
        more["evaluate"] = _wait
    try:
        train(folder, loss=Slow(), **more)
    except NearfarError as error:
        (folder.parent / "error.txt").write_text(str(error), encoding="utf-8")
        sys.exit(error.exit_code)


def _reset_signals() -> None:
    """Set the handlers of a process that is started in the foreground; a background job's ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait(model: Model) -> dict[str, float]:
    """An evaluation that takes long."""
    time.sleep(30)
    return {"mrr@10": 1.0}
