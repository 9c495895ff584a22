"""Every recipe of pictures, two epochs from random weights: does it learn, and does its space stay open?

python benchmarks/picture_recipes.py --work FOLDER [--pictures 50000] [--seeds 3] [--until 400]

Each is trained on CIFAR-10's training pictures, and judged by the 20 nearest of them (kNN) on test pictures, beside the
same network before its first step; 95 % intervals are paired by picture. What a process found is kept in --work, so the
same command goes on where it ended; with --until no training begins after so many seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, Bound, bound, conclude, facts, fresh, kept_at, once, tell
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data" / "A-cifar10" / "cifar10-jpeg.tar.xz"
RECIPES = (
    "simclr",
    "dcl",
    "moco_v2",
    "moco_v3",
    "byol",
    "simsiam",
    "nnclr",
    "supcon",
    "barlow_twins",
    "vicreg",
    "swav",
)
K = 20


def study(
    recipe: str, data: str, pictures: int, test: int, epochs: float, seed: int, threads: int, overrides: list[str]
) -> dict[str, Any]:
    """Train by a recipe in this process; return the hits of the test pictures before and after."""
    import torch
    from _pictures import hits, labels_task, some, trained

    from nearfar.data.images import Images

    torch.set_num_threads(threads)
    rows = Images(data, limit=pictures)
    others = rows.split("test")
    chosen = np.sort(np.random.default_rng(0).permutation(len(others))[:test])
    names = [str(name) for name in others.column("label").read(0, len(others))]
    task = labels_task(
        "test",
        rows.column("image"),
        [str(name) for name in rows.column("label").read(0, len(rows))],
        some(others.column("image"), chosen),
        [names[row] for row in chosen],
    )
    settings = [f"data.path={data}", f"data.limit={pictures}", "data.heldout=0", f"training.epochs={epochs}"]
    settings += [f"training.seed={seed}", f"encoder.seed={seed}", *overrides]
    with tempfile.TemporaryDirectory() as folder:
        found = trained(recipe, settings, Path(folder) / "run", lambda model: hits(model, task, K, probe=False))
    return {**found, "before": found["before"][f"knn@{K}"], "after": found["after"][f"knn@{K}"]}


def rows_of(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row for each recipe all of whose seeds are there."""
    from _pictures import paired

    rows = []
    for recipe, several in runs.items():
        gap = paired([run["after"] for run in several], [run["before"] for run in several])
        seeds = [paired([run["after"]], [run["before"]]) for run in several]
        row = {"recipe": recipe, "difference": gap, "seeds": seeds, "collapsed": [run["collapsed"] for run in several]}
        rows.append(
            {**row, "seconds": [run["seconds"] for run in several], "warnings": [r["warnings"] for r in several]}
        )
    return rows


def bounds_of(rows: list[dict[str, Any]]) -> list[Bound]:
    """Hold each recipe against its untrained network, and against collapse."""
    held = []
    for row in rows:
        lowest = min(gap["low"] for gap in row["seeds"])
        held.append(bound(f"{row['recipe']}: low end of kNN above untrained, worst seed", lowest, 0.0, least=True))
        held.append(bound(f"{row['recipe']}: alarms of collapse", sum(row["collapsed"]), 0, least=False))
    return held


def table(rows: list[dict[str, Any]], given: argparse.Namespace) -> Table:
    """Return what each recipe came to."""
    shown = Table(title=f"kNN (k {K}) after {given.epochs:g} epochs of {given.pictures:,}, {given.seeds} seeds")
    for name in ("recipe", "untrained", "trained", "difference", "of each seed", "alarms", "s"):
        shown.add_column(name, justify="right" if name != "recipe" else "left")
    for row in rows:
        gap = row["difference"]
        interval = rf"{gap['value']:+.3f} \[{gap['low']:+.3f}, {gap['high']:+.3f}]"
        each = " ".join(f"{seed['after']:.3f}" for seed in row["seeds"])
        seconds = f"{np.mean(row['seconds']):.0f}"
        cells = row["recipe"], f"{gap['before']:.3f}", f"{gap['after']:.3f}", interval, each
        shown.add_row(*cells, str(sum(row["collapsed"])), seconds)
    return shown


def measure(given: argparse.Namespace) -> None:
    machine, began, left = facts(), time.perf_counter(), 0
    runs: dict[str, list[dict[str, Any]]] = {}
    shared = {"data": str(given.data), "pictures": given.pictures, "test": given.test, "epochs": given.epochs}
    shared |= {"threads": given.threads, "overrides": given.set}
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        for seed in range(given.seeds):  # a seed of all recipes before the next
            for recipe in given.recipes:
                late = given.until is not None and time.perf_counter() - began > given.until
                task = {"recipe": recipe, "seed": seed, **shared}
                if late and not kept_at(work, f"{recipe}-{seed}", task).exists():
                    left += 1
                    continue
                found = once(work, f"{recipe}-{seed}", task, partial(fresh, __file__, task))
                runs.setdefault(recipe, []).append(found)
                before, after = np.mean(found["before"]), np.mean(found["after"])
                tell(f"{recipe}, seed {seed}: {before:.3f} to {after:.3f} in {found['seconds']:.0f} s")
    if left:
        tell(f"{left} trainings are left: run the same command again")
        return
    rows = rows_of(runs)
    held = bounds_of(rows)
    names = ("pictures", "test", "epochs", "seeds", "threads", "set")
    settings = {name: getattr(given, name) for name in names} | {"k": K}
    measured = {"machine": machine, "settings": settings, "rows": rows, "bounds": held}
    conclude(given.out, "picture_recipes", measured, table(rows, given), width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--pictures", type=int, default=50_000, help="training pictures")
    parser.add_argument("--test", type=int, default=10_000, help="test pictures that are judged")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--set", action="append", default=[], help="a setting of all recipes, as path=value")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--until", type=float, help="seconds after which no training begins")
    parser.add_argument("--data", type=Path, default=DATA, help="pictures in train/CLASS and test/CLASS, or an archive")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(study(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
