"""The contestants of the serving benchmark: how each is started, when it answers, what memory it holds, how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from _machine import NEARFAR, OFFLINE

STARTS, ENDS = 600.0, 60.0  # seconds at most
PLAIN = Path(__file__).parent / "_plain_server.py"
NAME = "served"  # of the model, over HTTP


@dataclass(frozen=True)
class Contestant:
    """A server in one setting. form: of its interface, "openai" or "plain". command: without the port."""

    family: str
    setting: str
    form: str
    path: str
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.family}, {self.setting}"


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    pid: int


def contestants(model: str, folder: str, infinity: Path | None, *, bf16: bool) -> list[Contestant]:
    """Return all contestants, ours first. folder: of the model, for the peers. bf16: whether this CPU is fast at it."""
    found = []
    for setting in ("fp32", "bf16") if bf16 else ("fp32",):
        own = ["serve", model, "--name", NAME, *(["--bf16"] if setting == "bf16" else [])]
        found.append(Contestant("ours", setting, "openai", "/v1/embeddings", (str(NEARFAR), *own)))
        for mode in ("threads", "lock", "batch"):
            family = "plain in batches" if mode == "batch" else "plain"
            words = [str(PLAIN), folder, "--mode", mode, *(["--bf16"] if setting == "bf16" else [])]
            said = setting if mode == "batch" else f"{setting}, {mode}"
            found.append(Contestant(family, said, "plain", "/embed", (sys.executable, *words)))
        if infinity is not None:
            dtype = {"fp32": "float32", "bf16": "bfloat16"}[setting]
            words = ["v2", "--model-id", folder, "--served-model-name", NAME, "--engine", "torch", "--device", "cpu"]
            words += ["--dtype", dtype, "--host", "127.0.0.1"]
            for said, more in ((setting, []), (f"{setting}, plain attention", ["--no-bettertransformer"])):
                command = (str(infinity / "bin" / "infinity_emb"), *words, *more)
                found.append(Contestant("infinity", said, "openai", "/embeddings", command))
    return found


@contextmanager
def running(contestant: Contestant, log: Path) -> Iterator[Running]:
    """Start a server on a free port of this machine, wait until it answers, and end it. log: for what it says.

    Errors: `SystemExit` where it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | OFFLINE | {"DO_NOT_TRACK": "1"}
    with log.open("wb") as said:
        command = [*contestant.command, "--port", str(port)]
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url, contestant.name, log)
        yield Running(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(ENDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, name: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and of those that it started."""
    place = Path("/proc") / str(pid)
    try:
        lines = (place / "status").read_text(encoding="ascii", errors="replace").splitlines()
        children = [int(word) for each in place.glob("task/*/children") for word in each.read_text().split()]
    except OSError:  # it has ended
        return 0.0
    own = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0) / 2**10
    return own + sum(map(resident_mb, children))


def version_of(infinity: Path) -> str:
    """Return the versions of infinity-emb and of its torch."""
    script = "from importlib.metadata import version as v; print(v('infinity-emb'), 'with torch', v('torch'))"
    found = subprocess.run([str(infinity / "bin" / "python"), "-c", script], capture_output=True, text=True, check=True)
    return found.stdout.strip()
