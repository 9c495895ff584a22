"""Reading damaged files in forked children, as a fault may be a signal, an abort, or memory or time without end.

`python -m tests.fuzz.children ROOT` loads all libraries and starts no thread. It forks a child for each line that it
is sent, {"target", "mutations": [one list for each input]}, and answers {"read", "refused", "faults": {input: what}}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import nearfar
from nearfar.errors import NearfarError
from tests.fuzz.mutations import Mutation, mutated

MEMORY = 3 << 30  # bytes of address space beyond what the libraries take
SECONDS = 120  # without an answer; a good file takes a fifth of one
LOADED = (
    "datasets",
    "pypdf",
    "pyarrow.csv",
    "pyarrow.json",
    "transformers.models.bert.modeling_bert",
    "typer",
    "rich.progress",
)


@dataclass(frozen=True)
class Answer:
    """How many damaged files were read and refused, and what else happened, by the input's number."""

    read: int
    refused: int
    faults: dict[int, str]


class Nursery:
    """The process whose children read; it has its own process, for this one runs threads, which a fork would break."""

    def __init__(self, root: Path) -> None:
        call = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.children", str(root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        place = Path(__file__).parents[2]  # where `tests` is found, wherever other tests have gone
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(call, cwd=place, env=environment, **pipes)

    def read(self, target: str, inputs: Sequence[Sequence[Mutation]]) -> Answer:
        """Return what happens to a target's damaged forms."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"target": target, "mutations": [[astuple(one) for one in mutations] for mutations in inputs]}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return Answer(told["read"], told["refused"], {int(i): what for i, what in told["faults"].items()})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def main(root: Path) -> None:
    """Answer each line of standard input."""
    ours = [module.name for module in pkgutil.walk_packages(nearfar.__path__, "nearfar.")]
    for name in (*LOADED, *ours, "tests.fuzz.targets"):
        with contextlib.suppress(ImportError):  # of an extra
            importlib.import_module(name)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        asked = json.loads(line)
        inputs = [[Mutation(*one) for one in mutations] for mutations in asked["mutations"]]
        out.write(json.dumps(_answer(root, asked["target"], inputs)) + "\n")
        out.flush()


def _answer(root: Path, target: str, inputs: list[list[Mutation]]) -> dict[str, Any]:
    counts, faults = {"read": 0, "refused": 0}, {}
    done = 0
    while done < len(inputs):  # another child goes on behind the input that ended the last one
        for told in _child(root, target, inputs, done):
            if told in counts:
                counts[told] += 1
            else:
                faults[done] = told
            done += 1
    return {**counts, "faults": faults}


def _child(root: Path, target: str, inputs: list[list[Mutation]], start: int) -> Iterator[str]:
    """Yield what happened to the inputs from `start` on, up to the one that ended the child."""
    receive, send = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            _work(root, target, inputs[start:], send)
        os._exit(0)
    send.close()
    told: str | None = None
    for _ in inputs[start:]:
        try:
            told = receive.recv() if receive.poll(SECONDS) else None
        except EOFError:
            break
        if told is None:
            break
        yield told
    else:
        os.waitpid(child, 0)
        return
    if told is None:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    yield f"no answer in {SECONDS} s" if told is None else f"the process ended with {os.waitstatus_to_exitcode(status)}"


def _work(root: Path, target: str, inputs: list[list[Mutation]], send: Any) -> None:
    """Read the damaged forms of a target, one after the other, in a copy of its folder, and tell of each."""
    from tests.fuzz.targets import reader

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of panics
    warnings.simplefilter("ignore")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    folder = target.split("/")[0]
    good = (root / target).read_bytes()
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch, contextlib.chdir(scratch):
        _move_caches(Path(scratch))
        for mutations in inputs:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(root / folder, folder)
            path = Path(scratch) / target
            path.write_bytes(mutated(good, mutations))
            told = _told(reader(target), path)
            send.send(told if mutations or told == "read" else f"the good file: {told}")


def _move_caches(scratch: Path) -> None:
    import datasets

    datasets.config.HF_DATASETS_CACHE = scratch / "datasets"
    os.environ["NEARFAR_CACHE"] = str(scratch / "cache")


def _told(read: Callable[[Path], None], path: Path) -> str:
    try:
        read(path)
    except NearfarError as error:
        lines = str(error).strip().split("\n")
        if error.exit_code == 2 and len([line for line in lines if not line.startswith("nearfar: warning")]) <= 2:
            return "refused"
        return f"exit code {error.exit_code}: {str(error)[:1000]}"
    except BaseException:  # a panic of Rust is one
        return traceback.format_exc()[-1500:]
    return "read"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
