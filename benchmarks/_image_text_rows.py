"""Rows of recipes over pictures and captions: trained in a process of their own, then judged in another."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _flickr8k import captions, places
from _image_text_judge import CIFAR, answered, both_ways, by_pixels, classes, named, retrieval
from _machine import fresh, once, tell

UNTOLD = ("data.heldout", "evaluate.")  # settings that do not change what is learnt


@dataclass(frozen=True)
class Row:
    """A recipe with settings of its own, as on the command line: "locked training.epochs=3 training.seed={seed}".

    before: a recipe that is trained first: "caption_words then clip encoder.key.model={before}". {before} stands for
    the folder of its model.
    """

    recipe: str
    settings: tuple[str, ...] = ()
    before: Row | None = None

    @classmethod
    def read(cls, words: str) -> Row:
        """Return a row from its words."""
        first, then, last = words.rpartition(" then ")
        recipe, *settings = shlex.split(last)
        return cls(recipe, tuple(settings), cls.read(first) if then else None)

    @property
    def name(self) -> str:
        """Return how tables call it."""
        own = [words for words in self.settings if "{" not in words.partition("=")[2] and not words.startswith(UNTOLD)]
        first = [] if self.before is None else [self.before.name, "then"]
        return " ".join([*first, Path(self.recipe).stem, *own])

    def all_settings(self, data: str, seed: int, shared: list[str], before: Path | None = None) -> list[str]:
        """Return the settings of a seed, with the places of the data; {seed} stands for its number.

        before: the folder of the model that was trained first; without it, what begins from it begins at random.
        """
        files = [f"data.{name}={place}" for name, place in places(Path(data)).items()]
        own = [words.replace("{seed}", str(seed)) for words in (*shared, *self.settings)]
        own = [words.replace("{before}", str(before)) for words in own if before is not None or "{before}" not in words]
        return [*files, f"training.seed={seed}", *own]


def train(recipe: str, settings: list[str], out: str) -> dict[str, Any]:
    """Train by a recipe in this process; return facts of the run."""
    import nearfar as nf

    done = nf.train(recipe, settings, out=Path(out), baselines=[], quiet=True, overwrite=True)
    assert done is not None
    run = done.run
    return {
        "seconds of fit": run.seconds,
        "seconds with judging": done.facts["seconds"],
        "train_pairs_per_second": run.train_pairs_per_second,
        "peak_mb": run.peak_memory_mb,
        "warnings": run.warnings,
    }


def untrained(recipe: str, settings: list[str]) -> Any:
    """Return the model of a recipe before its first step, as it would be shipped."""
    from nearfar import config
    from nearfar.model import Model
    from nearfar.sides import prepare_sides
    from nearfar.training.ship import shipped_encoder
    from nearfar.training.train_module import Trained

    parts = config.build(config.load(recipe, settings))
    prepare_sides(parts.encoder, parts.positives)
    trained = Trained(parts.encoder, parts.loss, parts.heads or {}, parts.objective, parts.objective_weight)
    shipped: Any = shipped_encoder(trained, parts.ship)
    return Model(shipped.eval())


def judge(
    data: str, what: list[str], limit: int | None, pictures: int | None, model: str = "", recipe: str = "", **more: Any
) -> dict[str, Any]:
    """Judge a model folder, or a recipe's model before training; what: "recall" and "zero_shot".

    Vectors are computed in bf16, where the machine is fast at it: the towers are encoded in it for training, too.
    """
    import nearfar as nf
    from nearfar.compute.hardware import cpu_bf16

    judged = nf.Model.load(Path(model)) if model else untrained(recipe, more["settings"])
    judged.bf16 = cpu_bf16()
    found: dict[str, Any] = {}
    if "recall" in what:
        found["recall"] = both_ways(judged, retrieval(captions(Path(data), limit=limit), "test"))
    if "zero_shot" in what:
        found["zero_shot"] = named(judged, classes(Path(data), pictures))
    return found


def floors(data: str, pictures: int | None) -> dict[str, Any]:
    """Return the hits on CIFAR-10 of what knows nothing of captions: pixels, and lite0's own classes by their names."""
    task = classes(Path(data), pictures)
    from _image_text_imagenet import mapped

    found = {"pixels, kNN on labelled training pictures": by_pixels(task)}
    return found | {name: answered(task, answers) for name, answers in mapped(task).items()}


def run_row(script: str, row: Row, seed: int, given: Any, work: Path) -> dict[str, Any]:
    """Return what a seed of a row gave: facts of training, the seconds of its process, and hits."""
    out, facts = _trained(script, row, seed, given, work)
    seconds = facts["seconds of the process"]
    tell(f"{row.name}, seed {seed}: {seconds:.0f} s{', beyond the cap' * (seconds > given.cap)}")
    of_all: dict[str, Any] = {"part": "judge", "data": str(given.data), "what": _judged(given)}
    of_all |= {"limit": given.limit, "pictures": given.pictures}
    told = {**of_all, "model": str(out / "model")}
    found = once(work, f"judge-{_file(row.name)}-{seed}", told, partial(fresh, script, told))
    for what, hits in found.items():
        means = {
            name: round(float(np.mean(v)), 3) for name, v in (hits.items() if what == "recall" else [(what, hits)])
        }
        tell(f"{row.name}, seed {seed}: {json.dumps(means)}")
    return {"facts": facts, **found}


def _trained(script: str, row: Row, seed: int, given: Any, work: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run, and its facts; its seconds are with those of the run before it, if there is one."""
    before, first = (None, None) if row.before is None else _trained(script, row.before, seed, given, work)
    model = None if before is None else before / "model"
    out = work / f"run-{_file(row.name)}-{seed}"
    settings = row.all_settings(str(given.data), seed, given.set, model)
    task: dict[str, Any] = {"part": "train", "recipe": row.recipe, "settings": settings, "out": str(out)}

    def trained() -> dict[str, Any]:
        began = time.perf_counter()
        found = fresh(script, task, 4 * given.cap)
        return {**found, "seconds of the process": time.perf_counter() - began}

    facts = once(work, f"train-{_file(row.name)}-{seed}", task, trained)
    if first is not None:
        seconds = facts["seconds of the process"] + first["seconds of the process"]
        facts = {**facts, "before": first, "seconds of the process": seconds}
    return out, facts


def run_untrained(script: str, row: Row, given: Any, work: Path) -> dict[str, Any]:
    """Return the hits of a row's model before its first step, with the first seed."""
    settings = row.all_settings(str(given.data), 0, given.set)
    task: dict[str, Any] = {"part": "judge", "data": str(given.data), "what": _judged(given), "limit": given.limit}
    task |= {"pictures": given.pictures, "recipe": row.recipe, "settings": settings}
    return once(work, f"untrained-{_file(row.name)}", task, partial(fresh, script, task))


def run_floors(script: str, given: Any, work: Path) -> dict[str, Any]:
    """Return the floors of zero-shot classification, from a process of their own."""
    task: dict[str, Any] = {"part": "floors", "data": str(given.data), "pictures": given.pictures}
    return once(work, f"floors-{Path(CIFAR).parent}", task, partial(fresh, script, task))


def _judged(given: Any) -> list[str]:
    return [part for part in ("recall", "zero_shot") if part in given.only]


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:60]
