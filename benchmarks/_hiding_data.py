"""Texts for language by hiding: film reviews in three parts, their sentences, and code with its docstrings."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _scratch import LEAST, MOST, judged_words, words

from nearfar import config

TEST, DEV = 2_500, 1_250  # reviews
CODE_TEST, CODE_DEV = 2_000, 1_000  # docstrings of modules that training does not see; docstrings of others
FEW = 5_000  # pairs


def lines(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """Write rows to a JSON Lines file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return part.replace(path)


def reviews(data: Path, folder: Path) -> Path:
    """Return a folder of train.jsonl, dev.jsonl and test.jsonl: distinct reviews, drawn into the three at random."""
    if not (folder / "test.jsonl").exists():
        texts = list(_distinct(data))
        order = np.random.default_rng(0).permutation(len(texts))
        ends = {"test": order[:TEST], "dev": order[TEST : TEST + DEV], "train": order[TEST + DEV :]}
        for name in ("train", "dev", "test"):  # the last one written says that all are there
            lines(folder / f"{name}.jsonl", ({"text": texts[i]} for i in np.sort(ends[name])))
    return folder


def _distinct(data: Path) -> Iterator[str]:
    known = set()
    with lzma.open(data / "H-imdb" / "imdb.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            text = re.sub(r"<br />|\s+", " ", json.loads(line)["text"]).strip()
            text = re.sub(" +", " ", text)
            if (key := words(text)) not in known:  # 418 reviews are there twice
                known.add(key)
                yield text


def review_sentences(data: Path, folder: Path) -> Path:
    """Return a file of the distinct sentences of the training reviews, without those of STS-B's dev and test parts."""
    path = folder / "sentences" / "sentences.jsonl"
    if not path.exists():
        known = judged_words(data)
        kept = []
        for row in (reviews(data, folder / "imdb") / "train.jsonl").open(encoding="utf-8"):
            for part in re.split(r"(?<=[.!?]) +", json.loads(row)["text"]):
                if LEAST <= len(part.split()) <= MOST and (key := words(part)) not in known:
                    known.add(key)
                    kept.append({"text": part})
        lines(path, kept)
    return path


def code(folder: Path) -> dict[str, Path]:
    """Return files of docstrings with their source: "pairs" to train on, "dev" and "test" to judge by, and "texts".

    The test's modules are seen by no training; texts are both sides of the training pairs, as a pile without pairs.
    """
    files = {name: folder / f"{name}.jsonl" for name in ("pairs", "dev", "texts", "test")}
    if not files["test"].exists():
        positives = config.build(config.load("python-packages", [])).positives
        rows = [{"query": r["query"], "key": r["key"]} for r in positives.describe(np.arange(len(positives)))]
        random = np.random.default_rng(0)
        chosen = set(random.permutation(len(rows))[:CODE_DEV].tolist())
        dev, pairs = [rows[i] for i in sorted(chosen)], [row for i, row in enumerate(rows) if i not in chosen]
        shown = {text for row in dev for text in row.values()}
        pairs = [row for row in pairs if shown.isdisjoint(row.values())]
        lines(files["pairs"], pairs)
        lines(files["dev"], dev)
        lines(files["texts"], ({"text": text} for row in pairs for text in (row["query"], row["key"])))
        held: Any = positives.task("heldout")
        queries, documents = (column.read(0, len(column)) for column in (held.queries, held.documents))
        asked = random.permutation(len(queries))[:CODE_TEST].tolist()
        lines(files["test"], ({"query": queries[q], "key": documents[k]} for q in asked for k in held.relevance[q]))
    return files


def few_pairs(pairs: Path) -> Path:
    """Return a file of some of the pairs of a file, drawn at random."""
    path = pairs.with_name("few.jsonl")
    if not path.exists():
        rows = pairs.read_text(encoding="utf-8").splitlines()
        chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:FEW])
        lines(path, (json.loads(rows[i]) for i in chosen))
    return path
