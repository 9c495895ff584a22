"""Pictures with words: retrieval on Flickr8k, CIFAR-10 by the names of its classes, and steps beside open_clip's.

python benchmarks/image_text.py [--only floor speed memory recall zero_shot] [--row "locked training.epochs=2"] ...

floor: histograms to TF-IDF by ridge, without a network. speed: whole steps, nearfar's and open_clip's loop in turns.
memory: a batch of 4,096 by the cached step. recall, zero_shot: recipes over seeds, judged on Flickr8k's 1,000 test
pictures with 5,000 captions both ways, and on CIFAR-10's test pictures, of which they have seen no label. A row is a
recipe with settings; {seed} in it is the number of the seed, and "FIRST then SECOND encoder.key.model={before}" are two
recipes, one after the other. Nothing is chosen on a test set. With --work what was measured is kept, so that a run that
was stopped goes on; runs of recipes lie there, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _machine import RESULTS, bound, conclude, facts, fresh, once, tell

DATA = Path(__file__).parents[2] / "shared" / "data"
PARTS = ("floor", "speed", "memory", "recall", "zero_shot")
# All training pictures are trained on, and the validation pictures watched; test is judged afterwards.
WATCHED = "data.heldout=0 " + " ".join(f"evaluate.{i}.split=validation" for i in range(4))
# Words first, from the captions alone; then pictures with them.
WORDS = "caption_words data.heldout=0 evaluate.0.split=validation evaluate.1.split=validation encoder.seed={seed}"
CLIP = f"clip {WATCHED} encoder.query.of.size=96 encoder.query.of.seed={{seed}} encoder.key.seed={{seed}}"
ROWS = (
    f"{WORDS} then {CLIP} encoder.key.model={{before}} encoder.key_rate=0.2",
    f"locked {WATCHED} encoder.query.seed={{seed}} encoder.key.seed=1{{seed}}",
)
ASKED = {"clip": (0.24, 0.27), "locked": (0.52, 0.55)}  # R@10, text to picture and picture to text, by recipe
NAMED = 0.40  # zero-shot accuracy of locked


def child(part: str, **task: Any) -> dict[str, Any]:
    """Do what a fresh process is asked for."""
    if part == "floor":
        from _image_text_floor import floor

        return floor(**task)
    if part in ("step", "losses"):
        from _image_text_speed import losses
        from _image_text_steps import train as step

        return step(**task) if part == "step" else losses(**task)
    import _image_text_rows as rows

    parts: dict[str, Callable[..., dict[str, Any]]]
    parts = {"train": rows.train, "judge": rows.judge, "floors": rows.floors}
    return parts[part](**task)


def measure(given: argparse.Namespace) -> None:
    machine = facts()
    measured: dict[str, Any] = {"machine": machine, "settings": _settings(given), "bounds": []}
    tables: list[Any] = []
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        if "speed" in given.only:
            _speed(given, work, measured, tables)
        if "memory" in given.only:
            from _image_text_speed import large_batch, memory_bounds, memory_table

            measured["memory"] = large_batch(__file__, given, work)
            measured["bounds"] += memory_bounds(measured["memory"])
            tables.append(memory_table(measured["memory"]))
        if {"floor", "recall", "zero_shot"} & set(given.only):
            _quality(given, work, measured, tables)
    conclude(given.out, "image_text", measured, *tables, width=140)


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    names = ("only", "row", "set", "seeds", "rounds", "towers", "batch", "steps", "limit", "pictures", "large", "micro")
    return {name: getattr(given, name) for name in names}


def _speed(given: argparse.Namespace, work: Path, measured: dict[str, Any], tables: list[Any]) -> None:
    from _image_text_speed import equal_losses, loss_bound, speed_bounds, speed_table, take_turns

    measured["losses"] = equal_losses(__file__, given, work)
    measured["speed"] = take_turns(__file__, given, work)
    measured["bounds"] += [loss_bound(measured["losses"]), *speed_bounds(measured["speed"])]
    tables.append(speed_table(measured["speed"], given.towers, given.batch))


def _quality(given: argparse.Namespace, work: Path, measured: dict[str, Any], tables: list[Any]) -> None:
    from _image_text_judge import FIGURES, summary
    from _image_text_rows import Row, run_floors, run_row, run_untrained
    from _image_text_tables import class_table, figures, recall_table, zero_shot_table

    recall, named = dict[str, Any](), dict[str, Any]()
    if "floor" in given.only:
        task = {"part": "floor", "data": str(given.data), "limit": given.limit}
        found = once(work, "floor", task, partial(fresh, __file__, task))
        recall["histograms to TF-IDF by ridge"] = {"figures": summary([found.pop("hits")])}
        measured["floor"] = found
        tell(f"floor: {recall['histograms to TF-IDF by ridge']['figures'][FIGURES[2]]['value']:.3f}")
    if "zero_shot" in given.only:
        named |= {name: {"hits": [hits]} for name, hits in run_floors(__file__, given, work).items()}
    for row in map(Row.read, given.row if {"recall", "zero_shot"} & set(given.only) else ()):
        before = run_untrained(__file__, row, given, work)
        runs = [run_row(__file__, row, seed, given, work) for seed in range(given.seeds)]
        told = [run["facts"] for run in runs]
        for name, several in ((f"{row.name}, untrained", [before]), (row.name, runs)):
            trained = {"facts": told} if several is runs else {}
            if "recall" in given.only:
                recall[name] = {"figures": summary([run["recall"] for run in several]), **trained}
            if "zero_shot" in given.only:
                named[name] = {"hits": [run["zero_shot"] for run in several], **trained}
        worst = max(fact["seconds of the process"] for fact in told)
        measured["bounds"].append(bound(f"{row.name}: seconds of the whole process", worst, given.cap, least=False))
        for figure, asked in zip((FIGURES[2], FIGURES[5]), ASKED.get(Path(row.recipe).stem, ())):
            value = recall[row.name]["figures"][figure]["value"] if "recall" in given.only else None
            measured["bounds"] += [] if value is None else [bound(f"{row.name}: {figure}", value, asked, least=True)]
    if recall:
        measured["recall"] = recall
        tables.append(recall_table(recall, given.limit))
    if named:
        measured["zero_shot"] = figures(named, given)
        locked = [
            bound(f"{n}: zero-shot accuracy", f["value"], NAMED, least=True)
            for n, f in measured["zero_shot"].items()
            if n.startswith("locked") and "untrained" not in n
        ]
        measured["bounds"] += locked
        tables += [zero_shot_table(measured["zero_shot"]), class_table(measured["zero_shot"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--row", action="append", help="a recipe with settings, as words; may be given several times")
    parser.add_argument("--set", action="append", default=[], help="a setting of all rows, as path=value")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cap", type=float, default=600.0, help="seconds that a training may take, all in all")
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes of each contestant, taking turns")
    parser.add_argument("--towers", default="vit-s-32", choices=["vit-s-32", "resnet18", "tiny"])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--batch", type=int, default=256, help="pairs a step, of the speed")
    parser.add_argument("--steps", type=int, default=6, help="of which the first third is not timed")
    parser.add_argument("--large", type=int, default=4096, help="pairs of the batch whose memory is measured")
    parser.add_argument("--micro", type=int, default=128, help="rows of it that are encoded together")
    parser.add_argument("--limit", type=int, help="pictures of each split of Flickr8k; all without it (speed: 2,000)")
    parser.add_argument("--pictures", type=int, help="pictures of each split of CIFAR-10; all without it")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.row = given.row or list(ROWS)
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
