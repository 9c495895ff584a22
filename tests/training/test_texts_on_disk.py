"""Texts are read from the disk: what a run holds of each passage in memory is a small index."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf

WORDS = np.array([f"w{i}" for i in range(300)])
CHUNK, OF_DOCUMENT = 4, 400  # words of a passage, of a document
INDEX = 160  # bytes of a passage at most; its text takes 20, its tokens on disk 40, lists of its bounds took 200
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def _peak(folder: Path, documents: int) -> tuple[int, int]:
    """Return the passages of so many documents, and the bytes that Python and numpy held at most while training."""
    draw = np.random.default_rng(0)
    with (folder / f"{documents}.jsonl").open("w") as file:
        for _ in range(documents):
            file.write(json.dumps({"text": " ".join(WORDS[draw.integers(0, 300, OF_DOCUMENT)])}) + "\n")
    settings: dict[str, Any] = {
        "data.path": str(folder / f"{documents}.jsonl"),
        "data.heldout": 16,  # documents, of which 15 are enough for intervals
        "positives.chunk": CHUNK,
        "encoder.config": {"model_type": "bert", **SIZES},
        "encoder.vocabulary": 400,
        "encoder.max_length": 16,
        "training.steps": 2,
        "training.batch_size": 8,
        "training.heldout_examples": 8,
        "training.device": "cpu",
    }
    tracemalloc.start()
    try:
        done = nf.train("masked_language", settings, out=folder / f"run {documents}", baselines=[], quiet=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done is not None
    return int(done.facts["pairs"]), peak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_passage_takes_a_few_numbers_of_memory(tmp_path: Path, cache: Path) -> None:
    few, before = _peak(tmp_path, 516)
    many, after = _peak(tmp_path, 2_016)
    assert (few, many) == (50_000, 200_000)
    assert (after - before) / (many - few) <= INDEX
