"""A full disk at every write of every command: one line, exit 1, nothing lost or left, and it goes on afterwards."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.cli.calling import Done, Run
from tests.cli.conftest import SMALL

STEPS = ["training.steps=2", "training.checkpoint_every=1", "training.validation=0"]
TRAIN = ["train", "static", "data.path=pairs.jsonl", *SMALL, *STEPS, "--quiet", "--out", "new"]
COMMANDS = {
    "embed": ["embed", "model", "pairs.jsonl", "--column=key", "--out", "out/v.npy"],
    "embed to Parquet": ["embed", "model", "pairs.jsonl", "--column=key", "--out", "out/v.parquet"],
    "embed with ranges": [
        *("embed", "model", "pairs.jsonl", "--column=key", "--out", "out/v.npy"),
        *("--precision=int8", "--calibration=pairs.jsonl"),
    ],
    "mine": ["mine", "model", "pairs.jsonl", "--out", "out/m.jsonl", "--review", "out/m.html", "--quiet"],
    "audit": ["audit", "pairs.jsonl", "--out", "out/a.html", "--fix", "out/f.jsonl", "--quiet"],
    "audit to CSV": ["audit", "pairs.jsonl", "--out", "out/a.html", "--fix", "out/f.csv", "--quiet"],
    "report": ["report", "run"],
    "train": TRAIN,
}
CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Faults:
    """Makes the n-th creation of a file or folder, or renaming, below a folder fail as on a full disk."""

    def __init__(self) -> None:
        self.below, self.left = "", 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.left or event not in ("open", "os.mkdir", "os.rename"):
            return
        path = arguments[0]
        flags = arguments[2] if event == "open" else CREATES
        if isinstance(path, str) and os.path.abspath(path).startswith(self.below) and flags & CREATES:  # noqa: PTH100
            self.left -= 1
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    @contextmanager
    def at(self, n: int, below: Path) -> Iterator[None]:
        """Let the n-th fail; `left` is 0 afterwards where there were as many."""
        self.below, self.left = str(below), n
        try:
            yield
        finally:
            self.reached, self.left = self.left == 0, 0


FAULTS = Faults()
sys.addaudithook(FAULTS)  # which cannot be removed, and does nothing outside of `at`


@pytest.fixture
def disk(run_here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pairs, a model and a run; all caches and temporary files lie in it, too."""
    monkeypatch.setenv("NEARFAR_CACHE", str(run_here / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(run_here / "tables"))
    (run_here / "out").mkdir()
    return run_here


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(done: Done, before: dict[str, bytes], folder: Path) -> None:
    """Check what a command that could not write has said and left."""
    told = [line for line in done.err.splitlines() if line.startswith("nearfar: ") and ": warning: " not in line]
    assert (done.code, done.out, len(told)) == (1, "", 1), done
    assert "Traceback" not in done.err
    assert "free space" in told[0] or "point HF_DATASETS_CACHE elsewhere" in told[0]
    assert "/." not in told[0].replace(str(folder), ""), "names a temporary file"
    after = files(folder)
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after.keys() - before.keys() if any(part.startswith(".") for part in Path(name).parts)]
    assert not [*new, *(name for name in after if name.endswith(".part"))]


def again(folder: Path) -> None:
    """Remove what earlier commands made."""
    for name in ("out", "cache", "tables", "new"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "out").mkdir()


@pytest.fixture
def at_most() -> Iterator[Callable[[int], None]]:
    """A way to forbid files above a size, also to libraries that are not written in Python."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_cannot_grow(command: str, disk: Path, nearfar: Run, at_most: Callable[[int], None]) -> None:
    before = files(disk)
    assert nearfar(*COMMANDS[command]).code == 0
    made = {name: content for name, content in files(disk).items() if before.get(name) != content}
    (disk / "run" / "report.html").write_bytes(before["run/report.html"])
    sizes = sorted({0, *(len(content) - 1 for content in made.values() if content)})
    for size in sizes[:: max(1, len(sizes) // (3 if command == "train" else 8))]:
        again(disk)
        at_most(size)
        done = nearfar(*COMMANDS[command])
        at_most(resource.RLIM_INFINITY)
        if done.code == 0:
            continue
        check(done, before, disk)
    go_on = ["--resume"] if command == "train" and (disk / "new" / "events.jsonl").exists() else []
    assert nearfar(*COMMANDS[command], *go_on).code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fills_up_at_any_file(command: str, disk: Path, nearfar: Run) -> None:
    before, failed = files(disk), 0
    for n in range(1, 200, 17 if command == "train" else 1):
        again(disk)
        with FAULTS.at(n, disk):
            done = nearfar(*COMMANDS[command])
        if not FAULTS.reached:
            break
        failed += done.code != 0
        if done.code != 0:  # Python itself tries again where it may
            check(done, before, disk)
        (disk / "run" / "report.html").write_bytes(before["run/report.html"])
    assert done.code == 0, done.err
    assert failed
