"""What the recipe picture_finetune makes of lite0: near-alike classes told apart, before and after, over seeds.

python benchmarks/picture_finetune.py [--sets cat-dog automobile-truck characters] [--seeds 3] [--work FOLDER]

Two pairs of CIFAR-10's classes, 200 training pictures a class drawn by the seed and all test pictures; and the
characters of one Omniglot alphabet, 10 people's drawings to train on (drawn by the seed) and the other 10 people's to
judge by. Classes are of equal size, so accuracy is balanced accuracy. Judged by the nearest training pictures (kNN) and
by a linear probe on the vectors, lite0 as it comes by the same, at the size it was made for (224) and at that of the
training; the difference is from the better of the two. 95 % intervals are paired by picture.
--choose judges on a fifth of the training pictures instead, which are then not trained on: for choosing settings.
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

DATA = Path(__file__).parents[2] / "shared" / "data"
CIFAR, OMNIGLOT = "A-cifar10/cifar10-jpeg.tar.xz", "A-omniglot-small"
SETS = ("cat-dog", "automobile-truck", "characters")
ALPHABET = "Sanskrit"
NEIGHBOURS = {"characters": 5}  # of kNN, where a class has few pictures; else 20
OF_SET = {  # what pictures of this kind need: no mirror images of letters, which are ink on paper
    "characters": ["positives.views=[{name: image, preset: handwriting, times: 2}]"],
}
OWN_SIZE = 224  # pixels that lite0 was made for
Named = dict[str, list[Any]]  # pictures by class


def drawn(name: str, data: Path, number: int, seed: int, *, choose: bool) -> tuple[Named, Named]:
    """Return training pictures and those to judge by, uint8 (h, w, 3), by class."""
    random = np.random.default_rng(seed)
    train, test = _characters(data, random) if name == "characters" else _classes(name.split("-"), data, number, random)
    if not choose:
        return train, test
    held = {c: list(cells)[: max(1, len(cells) // 5)] for c, cells in train.items()}
    return {c: list(cells)[len(held[c]) :] for c, cells in train.items()}, held


def _classes(classes: list[str], data: Path, number: int, random: np.random.Generator) -> tuple[Named, Named]:
    from nearfar.column import take
    from nearfar.data.images import Images

    found: list[Named] = []
    rows = Images(data / CIFAR if (data / CIFAR).exists() else data)
    for split in (rows, rows.split("test")):
        labels = np.array(split.column("label").read(0, len(split)))
        found.append({})
        for c in classes:
            of_class = random.permutation(np.flatnonzero(labels == c))[: number if split is rows else None]
            found[-1][c] = list(take(split.column("image"), of_class))
    return found[0], found[1]


def _characters(data: Path, random: np.random.Generator) -> tuple[Named, Named]:
    from _omniglot import background, picture

    people = [f"{person:02}" for person in random.permutation(20) + 1]
    alphabet = background(data / OMNIGLOT)[ALPHABET]
    train, test = (
        {c: [picture(drawings[person]) for person in some] for c, drawings in alphabet.items()}
        for some in (people[:10], people[10:])
    )
    return train, test


def written(pictures: Named, to: Path) -> Path:
    """Write pictures as a folder of classes, without loss."""
    from PIL import Image

    for c, cells in pictures.items():
        (to / c).mkdir(parents=True)
        for i, cell in enumerate(cells):
            Image.fromarray(cell).save(to / c / f"{i:04}.png")
    return to


def study(
    name: str,
    data: str,
    number: int,
    size: int,
    seed: int,
    threads: int,
    choose: bool,
    judge_own: bool,
    overrides: list[str],
) -> dict[str, Any]:
    """Fine-tune lite0 in this process; return the hits of the judged pictures before and after."""
    import torch
    from _pictures import hits, labels_task, trained

    from nearfar.column import ListColumn
    from nearfar.encoders.image import Image as Encoder
    from nearfar.model import Model

    torch.set_num_threads(threads)
    train, test = drawn(name, Path(data), number, seed, choose=choose)
    columns = [ListColumn("image", [cell for cells in part.values() for cell in cells]) for part in (train, test)]
    names = [[c for c, cells in part.items() for _ in cells] for part in (train, test)]
    task, k = labels_task(name, columns[0], names[0], columns[1], names[1]), NEIGHBOURS.get(name, 20)
    with tempfile.TemporaryDirectory() as folder:
        path = written(train, Path(folder) / "pictures")
        settings = [f"data.path={path}", "data.heldout=0", f"training.seed={seed}", f"encoder.size={size}"]
        settings += [*OF_SET.get(name, []), *overrides]
        found = trained("picture_finetune", settings, Path(folder) / "run", lambda model: hits(model, task, k))
    own = hits(Model(Encoder("lite0", size=OWN_SIZE)), task, k) if judge_own else {}
    return {**found, "own": own}


def rows_of(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row for each set and way to judge; before is the better size of lite0 as it comes."""
    from _pictures import paired

    rows = []
    for name, several in runs.items():
        for metric in several[0]["after"]:
            at_size = float(np.mean([run["before"][metric] for run in several]))
            own = [run["own"].get(metric) for run in several]
            at_own = None if own[0] is None else float(np.mean(own))
            best = "own" if at_own is not None and at_own > at_size else "before"
            gap = paired([run["after"][metric] for run in several], [run[best][metric] for run in several])
            each = [paired([run["after"][metric]], [run[best][metric]]) for run in several]
            row = {"set": name, "metric": metric, "lite0 at its size": at_size, "lite0 at 224": at_own}
            rows.append({**row, "difference": gap, "seeds": each, "seconds": [run["seconds"] for run in several]})
    return rows


def bounds_of(rows: list[dict[str, Any]]) -> list[Bound]:
    """Hold every difference against zero."""
    return [
        bound(f"{row['set']}, {row['metric']}: low end above lite0", row["difference"]["low"], 0.0, least=True)
        for row in rows
    ]


def table(rows: list[dict[str, Any]], seeds: int) -> Table:
    """Return before and after of each set."""
    shown = Table(title=f"picture_finetune from lite0, balanced accuracy, {seeds} seeds")
    for name in ("set", "judged by", "lite0 at 224", "at its size", "after", "difference", "s"):
        shown.add_column(name, justify="left" if name in ("set", "judged by") else "right")
    for row in rows:
        gap, own = row["difference"], row["lite0 at 224"]
        interval = rf"{gap['value']:+.3f} \[{gap['low']:+.3f}, {gap['high']:+.3f}]"
        at_size: float = row["lite0 at its size"]
        before = "" if own is None else f"{own:.3f}", f"{at_size:.3f}"
        seconds = f"{np.mean(row['seconds']):.0f}"
        shown.add_row(row["set"], row["metric"], *before, f"{gap['after']:.3f}", interval, seconds)
    return shown


def measure(given: argparse.Namespace) -> None:
    machine, began, left = facts(), time.perf_counter(), 0
    runs: dict[str, list[dict[str, Any]]] = {}
    shared: dict[str, Any] = {"data": str(given.data), "number": given.number, "size": given.size}
    shared |= {"threads": given.threads, "choose": given.choose}
    shared |= {"judge_own": given.own, "overrides": given.set}
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        for seed in range(given.seeds):
            for name in given.sets:
                task = {"name": name, "seed": seed, **shared}
                late = given.until is not None and time.perf_counter() - began > given.until
                if late and not kept_at(work, f"{name}-{seed}", task).exists():
                    left += 1
                    continue
                found = once(work, f"{name}-{seed}", task, partial(fresh, __file__, task))
                runs.setdefault(name, []).append(found)
                told = [
                    f"{metric} {np.mean(found['before'][metric]):.3f} to {np.mean(found['after'][metric]):.3f}"
                    for metric in found["after"]
                ]
                tell(f"{name}, seed {seed}: {', '.join(told)} in {found['seconds']:.0f} s")
    if left:
        tell(f"{left} trainings are left: run the same command again")
        return
    rows = rows_of(runs)
    held = bounds_of(rows)
    settings = {name: getattr(given, name) for name in ("number", "size", "seeds", "threads", "choose", "set")}
    measured = {"machine": machine, "settings": settings, "rows": rows, "bounds": held}
    conclude(given.out, "picture_finetune", measured, table(rows, given.seeds), width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--number", type=int, default=200, help="training pictures of a class of CIFAR-10")
    parser.add_argument("--size", type=int, default=128, help="pixels of a picture's side in training; 224 is slow")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--choose", action="store_true", help="judge on a fifth of the training pictures")
    parser.add_argument("--own", action=argparse.BooleanOptionalAction, default=True, help="judge lite0 at 224, too")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--until", type=float, help="seconds after which no training begins")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(study(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
