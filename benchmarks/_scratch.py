"""Two small transformers from nothing: their data, their training, and what the space is like along the way."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import nearfar as nf
from nearfar import config
from nearfar.compute import hardware
from nearfar.tasks import Similarity
from nearfar.vectors import geometry

CAPTIONS, SENTENCES = 5, 60_000  # captions of a picture; sentences of reviews that are enough for a short run
PAIRS = 512  # held-out pictures whose first two captions say where the space is
LEAST, MOST = 5, 40  # words of a sentence


def words(text: str) -> str:
    """Return a text's letters and digits only: what two copies of a sentence share."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def captions(data: Path, split: str) -> list[list[str]]:
    """Return the captions of each picture of a split."""
    columns = []
    for i in range(1, CAPTIONS + 1):
        with gzip.open(data / "D-multi30k" / "task2" / f"{split}.{i}.en.gz", "rt", encoding="utf-8") as file:
            columns.append([line.strip() for line in file])
    return [list(row) for row in zip(*columns, strict=True)]


def sentences(data: Path) -> Iterator[str]:
    """Yield the distinct sentences of film reviews, in the order of the file."""
    known = set()
    with lzma.open(data / "H-imdb" / "imdb.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            text = re.sub(r"<br />|\s+", " ", json.loads(line)["text"])
            for part in re.split(r"(?<=[.!?]) +", text):
                if LEAST <= len(part.split()) <= MOST and part not in known:
                    known.add(part)
                    yield part


def judged_by(data: Path) -> Similarity:
    """Return the test part of the STS benchmark."""
    task: Similarity = nf.data.Similarity(data / "B-stsb" / "sts-test.csv.gz").task()
    return task


def judged_words(data: Path) -> set[str]:
    """Return the sentences of the STS benchmark's development and test parts."""
    tables = [nf.data.Table(data / "B-stsb" / f"sts-{part}.csv.gz") for part in ("dev", "test")]
    columns = [table.text(name) for table in tables for name in ("sentence1", "sentence2")]
    return {words(cell) for column in columns for cell in column.read(0, len(column))}


def held_out(data: Path) -> list[list[str]]:
    """Return the first two captions of pictures that nobody trains on, and whose captions occur in no training row."""
    trained = {words(text) for row in captions(data, "train") for text in row}
    clean = [row[:2] for row in captions(data, "val") if not trained & set(map(words, row))]
    return clean[:PAIRS]


def _pictures(data: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The captions of pictures, without the pictures of which STS-B has a caption, word for word."""
    tested, rows = judged_words(data), captions(data, "train")
    kept = [{"texts": row} for row in rows if not tested & set(map(words, row))]
    return kept, {"pictures": len(rows), "left out, in STS-B": len(rows) - len(kept)}


def _reviews(data: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Sentences of film reviews, without those of STS-B."""
    tested, rows = judged_words(data), list(sentences(data))
    chosen = [rows[i] for i in np.sort(np.random.default_rng(0).permutation(len(rows))[:SENTENCES])]
    kept = [{"text": text} for text in chosen if words(text) not in tested]
    return kept, {"sentences": len(chosen), "left out, in STS-B": len(chosen) - len(kept)}


Rows = Callable[[Path], tuple[list[dict[str, Any]], dict[str, int]]]
STUDIES: dict[str, tuple[str, Rows, list[str]]] = {  # by name: a recipe, its data and settings
    "simcse_scratch, dropout alone": ("simcse_scratch", _reviews, ["positives.views=[{side: query}, {side: key}]"]),
    "simcse_scratch": ("simcse_scratch", _reviews, []),
    "paraphrases": ("paraphrases", _pictures, []),
}


class Looks:
    """Where the space is, step by step, on the same held-out pairs and the same test throughout."""

    def __init__(self, data: Path, every: int) -> None:
        self.task, self.every, self.found = judged_by(data), every, list[dict[str, float]]()
        self.near = held_out(data)
        self.seconds = 0.0

    def __call__(self, model: nf.Model) -> dict[str, float]:
        start = time.perf_counter()
        bf16 = torch.autocast("cpu", torch.bfloat16) if hardware.cpu_bf16() else nullcontext()
        with bf16:
            facts = {**space(model.embed, self.near), "spearman": float(agreement(model.embed, self.task))}
        self.found.append({"step": len(self.found) * self.every, **facts})
        self.seconds += time.perf_counter() - start
        return facts


def space(embed: Callable[[list[str]], Any], near: list[list[str]]) -> dict[str, float]:
    """Return alignment of pairs and uniformity over all of their texts (Wang and Isola 2020)."""
    first, second = (torch.from_numpy(np.asarray(embed(list(side)), np.float32)) for side in zip(*near, strict=True))
    both = torch.cat([first, second])
    return {
        "alignment": geometry.alignment(first, second).item(),
        "uniformity": geometry.uniformity(both).item(),
        "random_cosine": geometry.random_cosine(both).item(),
    }


def agreement(embed: Callable[[list[str]], Any], task: Similarity, rows: Any = slice(None)) -> float:
    """Return Spearman's correlation of cosines and scores, of some of the pairs."""
    a, b = (np.asarray(embed(side.read(0, len(side))), np.float32) for side in (task.first, task.second))
    return float(spearmanr((a * b).sum(1)[rows], task.scores[rows]).statistic)


def parts(data: Path) -> dict[str, Any]:
    """Return which of the test pairs are captions, of pictures or films, and which are not."""
    genre = np.array(nf.data.Table(data / "B-stsb" / "sts-test.csv.gz").text("genre").read(0, 10_000))
    return {"captions": genre == "main-captions", "news and forums": genre != "main-captions"}


def train(study: str, data: str, out: str, steps: int, looks: int, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Train by a recipe that ships; return what was seen along the way, and the run's figures."""
    place, folder = Path(data), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    recipe, rows_of, own = STUDIES[study]
    rows, counts = rows_of(place)
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    every = max(1, steps // looks)
    settings = [f"data.path={table}", f"training.steps={steps}", f"training.evaluate_every={every}"]
    made = config.build(config.load(recipe, [*settings, *own, "training.best=spearman", *overrides]))
    made.encoder.prepare(list(made.positives.views.values()))  # so that it can be judged before the first step
    seen = Looks(place, every)
    seen(nf.Model(made.encoder))
    run = nf.fit(
        made.encoder, made.positives, made.loss, out=folder / "run", evaluate=seen, quiet=True, **made.training
    )
    seen.found[-1]["step"] = steps
    names = parts(place)
    return {
        "data": {**counts, "examples": len(made.positives)},
        "path": seen.found,
        "parts": {name: agreement(run.model.embed, seen.task, mask) for name, mask in names.items()},
        "train_pairs_per_second": run.train_pairs_per_second,
        "seconds": run.seconds,
        "of it looking": seen.seconds,
        "peak_mb": run.peak_memory_mb,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in made.encoder.parameters()),  # type: ignore[attr-defined]
    }


def baselines(data: str) -> dict[str, Any]:
    """Return what needs no training: cosines of sets of words, weighted by how rare they are in the captions."""
    place, held = Path(data), Counter[str]()
    texts = {words(text) for row in captions(place, "train") for text in row}
    for text in texts:
        held.update(set(text.split()))
    task, names = judged_by(place), parts(place)

    def vector(text: str) -> dict[str, float]:
        rarity = {word: math.log((1 + len(texts)) / (1 + held[word])) for word in words(text).split()}
        size = math.hypot(*rarity.values())
        return {word: weight / size for word, weight in rarity.items()}

    sides = [map(vector, side.read(0, len(side))) for side in (task.first, task.second)]
    cosines = np.array([sum(weight * b.get(word, 0.0) for word, weight in a.items()) for a, b in zip(*sides)])
    whole = np.ones(len(cosines), np.bool_)
    found = {
        name: spearmanr(cosines[mask], task.scores[mask]).statistic for name, mask in ({"": whole} | names).items()
    }
    return {"spearman": float(found.pop("")), "parts": {name: float(value) for name, value in found.items()}}
