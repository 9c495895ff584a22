"""`nearfar train masked_language` on texts of 1 GB: does the memory that it holds grow with them?

    python benchmarks/texts_on_disk.py [--megabytes 100 1000] [--like texts.jsonl.xz] [--recipe causal_language]

A few steps on texts of each size, and a fixed number of documents to judge by. The documents are sentences in random
order: those of a table with a column `text`, or of random words. What is measured is memory that no file backs: pages
of mapped files count as resident, too, but the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _machine import OFFLINE, RESULTS, bound, conclude, facts, tell
from many_rows import train

LIMIT_BYTES = 200  # a passage, beyond what the smaller texts take
SENTENCES, OF_DOCUMENT = 200_000, 12  # that documents are made of, at most; of a document
SIZES = "hidden_size: 64, intermediate_size: 128, num_hidden_layers: 1, num_attention_heads: 2"


def sentences(like: Path | None) -> list[str]:
    """Return the sentences of a table's texts, or of random words."""
    if like is None:
        random, letters = np.random.default_rng(0), np.array(list("abcdefghijklmnopqrstuvwxyz"))
        words = ["".join(random.choice(letters, size)) for size in random.integers(2, 10, 30_000)]
        drawn = (len(words) ** random.random((SENTENCES, 18))).astype(np.int64) - 1  # word i, as 1 / (i + 1)
        return [" ".join(words[i] for i in row) + "." for row in drawn.tolist()]
    with lzma.open(like, "rt") if like.suffix == ".xz" else like.open(encoding="utf-8") as lines:
        texts = (json.loads(line)["text"] for line in lines)
        return list(dict.fromkeys(one for text in texts for one in re.split(r"(?<=[.!?])\s+", text)))[:SENTENCES]


def documents(known: list[str], size: int) -> Iterator[str]:
    """Yield lines of JSON of so many bytes: documents of sentences in random order."""
    random, written = np.random.default_rng(1), 0
    while written < size:
        chosen = " ".join(known[i] for i in random.integers(0, len(known), OF_DOCUMENT).tolist())
        line = json.dumps({"text": chosen}) + "\n"
        written += len(line)
        yield line


def measure(given: argparse.Namespace, folder: Path) -> None:
    machine, known, runs = facts(), sentences(given.like), {}
    kind = "llama" if given.recipe == "causal_language" else "bert"
    settings = [f"encoder.config={{model_type: {kind}, {SIZES}}}", f"data.heldout={given.heldout}"]
    settings += [f"training.steps={given.steps}", "training.heldout_examples=1000", *given.set]
    for size in given.megabytes:
        table = folder / f"{size}.jsonl"
        with table.open("w", encoding="utf-8") as file:
            file.writelines(documents(known, size * 10**6))
        caches = {"NEARFAR_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
        words = [f"data.path={table}", *settings]
        runs[f"{size} MB"] = train(given.recipe, words, folder / f"run-{size}", os.environ | OFFLINE | caches)
        tell(f"{size} MB: {', '.join(f'{what} {value:,.1f}' for what, value in runs[f'{size} MB'].items())}")
        for place in (*map(Path, caches.values()), table):
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    first, *_, last = runs.values()
    passages = last["pairs"] - first["pairs"]
    a_passage = {what: (last[what] - first[what]) * 2**20 / passages for what in ("own_peak_mb", "steady_own_mb")}
    kept = [
        bound("bytes of a further passage at the peak", a_passage["own_peak_mb"], LIMIT_BYTES, least=False),
        bound("bytes of a further passage while steps run", a_passage["steady_own_mb"], LIMIT_BYTES, least=False),
    ]
    names = ("megabytes", "recipe", "steps", "heldout", "set")
    asked: dict[str, Any] = {name: getattr(given, name) for name in names}
    asked["like"] = None if given.like is None else given.like.name
    found = {"machine": machine, "settings": asked, "runs": runs, "bounds": kept}
    conclude(given.out, "texts_on_disk", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000], help="sizes, the smallest first")
    parser.add_argument("--like", type=Path, help="a table, .jsonl or .jsonl.xz, whose sentences are taken")
    parser.add_argument(
        "--recipe", default="masked_language", choices=["masked_language", "causal_language", "retromae"]
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--heldout", type=int, default=500, help="documents to judge by")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--work", type=Path, help="where texts, caches and runs lie meanwhile")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as scratch:
        measure(given, Path(scratch))


if __name__ == "__main__":
    main()
