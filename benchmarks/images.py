"""Pictures of 32 pixels: the two views of SimCLR, and whole training steps, nearfar's and the peers', in one run.

python benchmarks/images.py [--parts views small resnet18] [--rounds 3] [--work FOLDER] [--quick]

views: nearfar, lightly, torchvision v2 and kornia at their best, the same changes with the same chances, in one thread,
pictures (two views each) a second of CPU time, medians over fresh processes that take turns. small, resnet18: nearfar's
loop beside the one of lightly's documentation, with the same network, in two threads. With --work what was measured is
kept, so that a run that was stopped goes on. --quick runs everything for a moment, which says nothing but that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _machine import RESULTS, Bound, PeakMemory, bound, conclude, facts, fresh, once, tell
from _views import FORMS, NORMALISED, NOT_EQUAL
from rich.table import Table

from nearfar.compute.hardware import cpu_bf16

DATA = Path(__file__).parents[2] / "shared" / "data" / "A-cifar10" / "cifar10-jpeg.tar.xz"
PARTS = ("views", "small", "resnet18")
VIEWS = {"lightly": 6.0, "torchvision": 4.5, "kornia": 1.4}  # times a peer's best form
ALIKE = 0.02  # how far mean and standard deviation of the views may be from nearfar's, on a scale of 0 to 1
STEP = {"small": (256, 60, 1.6), "resnet18": (128, 12, 1.4)}  # batch, steps, times lightly's as documented
BF16 = 1.6  # times fp32
DOCUMENTED = {"layout": "contiguous", "precision": "fp32", "workers": 8}
Runs = dict[str, list[dict[str, Any]]]


def contestants(part: str) -> dict[str, dict[str, Any]]:
    """Return what takes turns: by name the task of a fresh process."""
    if part == "views":
        return {form: {"form": form} for form in FORMS if find_spec(form.split()[0].rstrip(",")) is not None}
    batch, steps, _ = STEP[part]
    peers: dict[str, dict[str, Any]] = {
        "lightly, as documented": DOCUMENTED,
        "lightly, 2 workers": {**DOCUMENTED, "workers": 2},
    }
    best = {"layout": "channels last", "workers": 2}
    peers["lightly, 2 workers, channels last"] = {**best, "precision": "fp32"}
    peers["lightly, 2 workers, channels last, bf16"] = {**best, "precision": "bf16"}
    every: dict[str, dict[str, Any]] = {"nearfar, fp32": {"precision": "fp32"}, "nearfar, bf16": {"precision": "bf16"}}
    every |= peers if find_spec("lightly") is not None else {}
    return {
        name: {"contestant": name.split(",")[0], "model": part, "batch": batch, "steps": steps, **variant}
        for name, variant in every.items()
        if cpu_bf16() or "bf16" not in name
    }


def views(form: str, data: str, limit: int, batch: int, seconds: float) -> dict[str, Any]:
    """Return pictures a second of CPU time, the views' statistics and the memory of a form, in this process."""
    from nearfar.data.images import Images

    warnings.simplefilter("ignore")  # the peers'
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = Images(data, limit=limit)
    cells = torch.stack([torch.from_numpy(cell) for cell in rows.column("image").read(0, len(rows))])  # (n, h, w, 3)
    with PeakMemory() as memory:
        change = FORMS[form]()
        for _ in change(cells[:batch]):
            pass
        count, spent, total, square, numbers = 0, 0.0, 0.0, 0.0, 0
        while spent < seconds or count < 2 * batch:
            part = cells[torch.randint(len(cells), (batch,))]
            began = time.process_time()
            found = list(change(part))
            spent, count = spent + time.process_time() - began, count + len(part)
            for view in found:
                x = view.double() / (255 if view.dtype == torch.uint8 else 1)
                total, square, numbers = total + x.sum().item(), square + x.square().sum().item(), numbers + x.numel()
    mean = total / numbers
    return {
        "pictures_per_second": count / spent,
        "mean": mean,
        "std": (square / numbers - mean**2) ** 0.5,
        "peak_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
    }


def child(**task: Any) -> dict[str, Any]:
    """Do what a fresh process is asked for."""
    if "form" in task:
        return views(**task)
    from _picture_steps import train

    return train(**task)


def take_turns(part: str, given: argparse.Namespace, work: Path) -> Runs:
    """Return the runs of every contestant of a part; in each round all take their turn."""
    shared: dict[str, Any] = {"data": str(given.data), "limit": given.pictures}
    shared |= {"batch": given.batch, "seconds": given.seconds} if part == "views" else {"threads": given.threads}
    runs: Runs = {}
    for round_ in range(given.rounds):
        for name, task in contestants(part).items():
            task = {**shared, **task} | ({"steps": 3, "batch": 16} if given.quick and part != "views" else {})
            called = f"{part}-{round_}-{name.replace(' ', '_')}"
            found = once(work, called, task, partial(fresh, __file__, task))
            runs.setdefault(name, []).append(found)
            tell(f"{part}, round {round_ + 1}: {name}: {found['pictures_per_second']:,.0f} pictures/s")
    return runs


def middle(runs: list[dict[str, Any]], what: str = "pictures_per_second") -> float:
    """Return the median over rounds."""
    return statistics.median(float(run[what]) for run in runs)


def fastest(found: Runs, start: str) -> str | None:
    """Return the fastest form whose name starts so, of those that do the same work."""
    names = [name for name in found if name.startswith(start) and name != NOT_EQUAL]
    return max(names, key=lambda name: middle(found[name])) if names else None


def against(part: str, found: Runs, one: str, other: str | None, limit: float) -> list[Bound]:
    """Return how many times as fast one contestant is as another; nothing where one of them was not measured."""
    if other is None or one not in found or other not in found:
        return []
    ratio = middle(found[one]) / middle(found[other])
    return [bound(f"{part}: {one}, times {other}", ratio, limit, least=True)]


def bounds_of(part: str, found: Runs) -> list[Bound]:
    """Hold a part against what was promised."""
    if part == "views":
        held = [
            b for peer, limit in VIEWS.items() for b in against(part, found, "nearfar", fastest(found, peer), limit)
        ]
        for name in (name for name in found if name not in ("nearfar", NOT_EQUAL, NORMALISED)):
            gap = max(abs(middle(found[name], what) - middle(found["nearfar"], what)) for what in ("mean", "std"))
            held.append(bound(f"views: mean and std of {name}, off nearfar's", gap, ALIKE, least=False))
        return held
    ours = "nearfar, bf16" if "nearfar, bf16" in found else "nearfar, fp32"  # what precision: auto takes
    plain = [name for name in found if name in ("lightly, as documented", "lightly, 2 workers")]
    documented = max(plain, key=lambda name: middle(found[name])) if plain else None
    held = against(part, found, ours, documented, STEP[part][2])
    last = "lightly, 2 workers, channels last"
    held += against(part, found, "nearfar, fp32", last, 1.0) + against(part, found, ours, f"{last}, bf16", 1.0)
    return held + against(part, found, "nearfar, bf16", "nearfar, fp32", BF16)


def table(part: str, found: Runs) -> Table:
    """Return medians, the spread over rounds, and memory."""
    unit = "pictures a CPU second, two views each" if part == "views" else "pictures/s"
    shown = Table(title=f"{part}: {unit}")
    for name in ("", unit, "lowest to highest", "peak MB", "MB of a worker" if part != "views" else "mean and std"):
        shown.add_column(name, justify="right" if name else "left")
    for name, runs in found.items():
        speeds = [run["pictures_per_second"] for run in runs]
        last = f"{middle(runs, 'worker_mb'):,.0f}" if part != "views" else ""
        last = last or f"{middle(runs, 'mean'):.3f} {middle(runs, 'std'):.3f}"
        mark = " (not equal work)" if name == NOT_EQUAL else ""
        spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
        shown.add_row(name + mark, f"{middle(runs):,.0f}", spread, f"{middle(runs, 'peak_mb'):,.0f}", last)
    return shown


def measure(given: argparse.Namespace) -> None:
    machine, found = facts(), dict[str, Runs]()
    with tempfile.TemporaryDirectory() as scratch:
        for part in given.parts:
            found[part] = take_turns(part, given, given.work or Path(scratch))
    held = [b for part, runs in found.items() for b in bounds_of(part, runs)]
    tables = [table(part, runs) for part, runs in found.items()]
    names = ("rounds", "batch", "seconds", "threads", "pictures", "quick")
    settings = {name: getattr(given, name) for name in names} | {"steps": STEP}
    measured = {"machine": machine, "settings": settings, "runs": found, "bounds": held}
    conclude(given.out, "images", measured, *tables, width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each contestant, taking turns")
    parser.add_argument("--batch", type=int, default=256, help="pictures augmented together, of the views alone")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU time of the views in a process, at least")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in training")
    parser.add_argument("--pictures", type=int, default=10_000, help="read so many of the data set")
    parser.add_argument("--quick", action="store_true", help="one round of a moment, to see that everything runs")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="pictures of 32 pixels: a folder or an archive")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.batch, given.seconds, given.pictures = 1, 32, 0.0, min(given.pictures, 64)
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
