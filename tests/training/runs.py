"""Small real runs for the tests, in this process and in others that are stopped or killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
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
    """Return n pairs of texts, each of a topic of their own and of words that all use."""
    draw = random.Random(seed)
    said = [f"w{draw.randrange(40)} w{draw.randrange(40)}" for _ in range(n)]
    return Rows(
        query=[f"topic{i} of {words}" for i, words in enumerate(said)],
        key=[f"{words} tells topic{i} and w{draw.randrange(40)}" for i, words in enumerate(said)],
    )


class Slow(InfoNCE):
    """InfoNCE that takes its time, so that a run can be stopped in its midst."""

    def forward(self, *args: Any) -> torch.Tensor:
        time.sleep(0.01)
        return super().forward(*args)


def train(folder: Path, data: Rows | None = None, loss: InfoNCE | None = None, **more: Any) -> Run:
    """Train a small encoder."""
    encoder = more.pop("encoder", None) or Static(dim=16, vocabulary=300)
    return fit(encoder, Columns(data or rows()), loss or InfoNCE(), out=folder, quiet=True, **{**SETTINGS, **more})


def weights(run: Run) -> np.ndarray[Any, Any]:
    """Return a copy of the trained table."""
    encoder = run.model.encoder
    assert isinstance(encoder, Static)
    return encoder.embedding.weight.detach().numpy().copy()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: as on a full disk, for Python ignores the signal and gets an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def apart(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Start a function in a process of its own, quickly: a server that has loaded torch already forks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=target, args=args)
    process.start()
    return process


def ended(process: ForkServerProcess) -> int | None:
    """Wait for a process and return its exit code (negative: the signal that killed it)."""
    process.join(60)
    if process.is_alive():
        process.kill()
        raise AssertionError("the run hangs")
    return process.exitcode


def in_ranks(world_size: int, target: Callable[..., None], *args: Any) -> None:
    """Run target(ranks, *args) in so many processes that meet as torchrun's do; raise what one of them raised."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as said:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        processes = [apart(_rank, rank, world_size, port, Path(said), target, args) for rank in range(world_size)]
        codes = [ended(process) for process in processes]
        errors = [path.read_text() for path in sorted(Path(said).iterdir())]
        assert not any(codes), "\n".join([f"exit codes {codes}", *errors])


def _rank(
    rank: int, world_size: int, port: int, said: Path, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    met = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {name: str(value) for name, value in met.items()} | {"GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    ranks = Ranks.here()
    ranks.open(torch.device("cpu"))
    try:
        target(ranks, *args)
    except BaseException:
        (said / f"rank {rank}").write_text(f"rank {rank}: {traceback.format_exc()}")
        sys.stdout.flush()
        os._exit(1)  # at once: the others are not to wait


def slow_run(folder: Path, cache: Path, more: dict[str, Any]) -> None:
    """Train slowly and leave with the exit code that the command line gives; say why in a file."""
    os.environ["NEARFAR_CACHE"] = str(cache)
    torch.set_num_threads(1)
    if more.pop("wait", False):
        more["evaluate"] = _wait
    try:
        train(folder, loss=Slow(), **more)
    except NearfarError as error:
        (folder.parent / "said.txt").write_text(str(error), encoding="utf-8")
        sys.exit(error.exit_code)


def _wait(model: Model) -> dict[str, float]:
    """An evaluation that takes long."""
    time.sleep(30)
    return {"mrr@10": 1.0}
