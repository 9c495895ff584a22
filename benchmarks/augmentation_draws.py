"""Microseconds an example for its random numbers: of all examples together, by counter, and from a generator each.

Each cell of a batch needs numbers of its own, a pure function of (run seed, pass, example, stream), so that a resumed
run and any number of ranks draw the same. `Draws` makes those of all cells in a few operations on whole tensors; the
usual way seeds a `numpy.random.Generator` for each cell. No cell is changed here: this is the cost of the numbers. All
run in one thread, as where batches are read ahead beside the step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _machine import RESULTS, bound, conclude, facts, fresh
from rich.console import Console

from nearfar.compute.draws import Draws

LIMIT = 0.3  # us an example
FROM = 1024  # examples in a batch
Seeds = npt.NDArray[np.int64]


def together(seeds: Seeds, numbers: int) -> None:
    """Draw the numbers of all examples by counter."""
    Draws.of(seeds, 1).uniform(numbers)


def one_by_one(seeds: Seeds, numbers: int) -> None:
    """Draw the numbers of each example from a generator of its own."""
    for row in seeds.tolist():
        np.random.default_rng([*row, 1]).random(numbers, np.float32)


FORMS = {"draws": together, "generators": one_by_one}


def child(form: str, size: int, numbers: int, repeats: int) -> dict[str, Any]:
    """Return the median microseconds an example, in this process."""
    torch.set_num_threads(1)
    seeds = np.stack([np.zeros(size, np.int64), np.ones(size, np.int64), np.arange(size)], 1)  # (n, 3)
    draw, found = FORMS[form], []
    draw(seeds, numbers)
    for _ in range(repeats):
        began = time.perf_counter()
        draw(seeds, numbers)
        found.append((time.perf_counter() - began) / size * 1e6)
    return {"us": statistics.median(found)}


def measure(given: argparse.Namespace) -> None:
    machine, rows, held = facts(), [], []
    console = Console()
    for size in given.sizes:
        found: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(given.rounds):
            for form, seconds in found.items():  # they take turns
                task = {"form": form, "size": size, "numbers": given.numbers, "repeats": given.repeats}
                seconds.append(fresh(__file__, task)["us"])
        row = {"examples": size} | {form: round(statistics.median(us), 4) for form, us in found.items()}
        rows.append(row)
        console.print(f"{size:,} examples: {row['draws']:.3f} us each, {row['generators']:.1f} us from generators")
        if size >= FROM:
            held.append(bound(f"us an example, batch of {size:,}", row["draws"], LIMIT, least=False))
    settings = {"numbers": given.numbers, "rounds": given.rounds, "repeats": given.repeats}
    measured = {"machine": machine, "settings": settings, "rows": rows, "bounds": held}
    conclude(given.out, "augmentation_draws", measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--numbers", type=int, default=32, help="numbers of an example")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024, 8192], help="examples in a batch")
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each form and size")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls in a process")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
