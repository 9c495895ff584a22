"""SimCLR as shipped on CIFAR-10 at 32 pixels: what ten minutes of two cores teach, on the whole test set.

python benchmarks/cifar10.py --work FOLDER [--recipe simclr] [--seeds 3] [--set PATH=VALUE]

Each seed is trained by the recipe with nothing changed (but for --set), and judged by kNN (k 20 with T 0.07, k 200 with
T 0.1) and a linear probe on the 10,000 test pictures, beside raw pixels, the untrained network and the most frequent
class. No setting was chosen on the test set. A run in --work/seed-N is judged as it is, so trainings may be started by
hand, side by side; a time is only quoted of runs on two threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from _machine import RESULTS, Bound, bound, conclude, facts, once, tell
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data" / "A-cifar10" / "cifar10-jpeg.tar.xz"
METRICS: list[dict[str, Any]] = [
    {"name": "knn", "k": 20},
    {"name": "knn", "k": 200, "temperature": 0.1},
    {"name": "probe"},
]
ASKED = {"knn@20": 0.63, "knn@200": 0.60}
MINUTES = 10.0
PLAINLY = ("knn@20", "knn@200", "probe")


def study(recipe: str, data: str, seed: int, run: str, overrides: list[str], *, floors: bool) -> dict[str, Any]:
    """Train where there is no run yet, and judge its model on the test pictures."""
    import nearfar as nf
    from nearfar.evaluation import sources

    folder = Path(run)
    if not (folder / "model").is_dir():
        seeds = [f"training.seed={seed}", f"encoder.seed={seed}"]
        nf.train(recipe, [f"data.path={data}", *seeds, *overrides], out=folder, baselines=[], quiet=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    ends = {name: next(event for event in events if event["event"] == name) for name in ("start", "end")}
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    report = nf.evaluate(
        nf.Model.load(folder / "model"),
        sources.task(data, "test"),
        METRICS,
        baselines=None if floors else [],
        fusion=False,
        look=False,
    ).to_json()
    floors_found = {name: dict(values) for name, values in report.get("baseline", {}).items()}
    return {
        "metrics": {name: report["metrics"][name] for name in PLAINLY},
        "intervals": {name: report["intervals"][name] for name in PLAINLY},
        "floors": {name: {key: values.get(key) for key in PLAINLY} for name, values in floors_found.items()},
        "differences": {
            name: {key: values[key] for key in PLAINLY if key in values}
            for name, values in report.get("difference", {}).items()
        },
        "threads": ends["start"]["threads"],
        "seconds": ends["end"]["time"] - ends["start"]["time"],
        "warnings": warnings,
    }


def bounds_of(runs: list[dict[str, Any]]) -> list[Bound]:
    """Hold the worst seed against what was asked."""
    held = [
        bound(f"{name}, worst of {len(runs)} seeds", min(run["metrics"][name] for run in runs), asked, least=True)
        for name, asked in ASKED.items()
    ]
    timed = [run["seconds"] / 60 for run in runs if run["threads"] > 1]
    if timed:
        held.append(bound("minutes of training, on two threads", max(timed), MINUTES, least=False))
    return held


def table(runs: list[dict[str, Any]], recipe: str) -> Table:
    """Return the seeds beside the floors."""
    shown = Table(title=f"{recipe} on CIFAR-10, {len(runs)} seeds, 10,000 test pictures")
    for name in ("", *PLAINLY, "s", "threads"):
        shown.add_column(name, justify="right" if name else "left")
    for seed, run in enumerate(runs):
        cells = (_cell(run["metrics"][name], run["intervals"][name]) for name in PLAINLY)
        shown.add_row(f"seed {seed}", *cells, f"{run['seconds']:.0f}", str(run["threads"]))
    means = (f"{statistics.mean(run['metrics'][name] for run in runs):.3f}" for name in PLAINLY)
    shown.add_row("mean", *means, "", "")
    for name, values in runs[0]["floors"].items():
        shown.add_row(name, *("" if values[key] is None else f"{values[key]:.3f}" for key in PLAINLY), "", "")
    return shown


def _cell(value: float, interval: Mapping[str, float]) -> str:
    return rf"{value:.3f} \[{interval['low']:.3f}, {interval['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="simclr")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--work", type=Path, help="folder of the runs, seed-0 and so on, and of what was found of them")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    given = parser.parse_args()
    machine, runs = facts(), []
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for seed in range(given.seeds):
            task: dict[str, Any] = {"recipe": given.recipe, "data": str(given.data), "seed": seed}
            task |= {"run": str(work / f"seed-{seed}"), "overrides": given.set}
            runs.append(once(work, f"seed-{seed}", task, partial(study, **task, floors=seed == 0)))
            tell(f"seed {seed}: {runs[-1]['metrics']}")
    held = bounds_of(runs)
    settings = {"recipe": given.recipe, "set": given.set, "seeds": given.seeds}
    measured = {"machine": machine, "settings": settings, "runs": runs, "bounds": held}
    conclude(given.out, "cifar10", measured, table(runs, given.recipe), width=110)


if __name__ == "__main__":
    main()
