"""A static model trained on the same pairs, with the same tokenizer: by us, and by the peer."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from _machine import PeakMemory

from nearfar import config, registry
from nearfar.column import Column, ListColumn, chunks, take
from nearfar.contracts import Data
from nearfar.positives.columns import Columns
from nearfar.storage.fingerprint import fingerprint


class Sample:
    """Some rows of a data set, for quick runs; the splits stay whole."""

    def __init__(self, data: Data, size: int) -> None:
        self.data, self.columns = data, data.columns
        self.rows = np.sort(np.random.default_rng(0).permutation(len(data))[:size])
        self.fingerprint = fingerprint(data.fingerprint, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Column:
        return ListColumn(name, take(self.data.column(name), self.rows))

    def split(self, name: str) -> Data:
        return self.data.split(name)


@dataclass(frozen=True)
class Setting:
    """What both contestants are given, built from the recipe `python-packages`."""

    parts: config.RecipeParts
    data: Data
    relations: dict[str, Any]  # the recipe's section `positives`

    @classmethod
    def of(cls, overrides: list[str], pairs: int) -> Setting:
        """Build the recipe; of more than `pairs` rows draw so many."""
        recipe = config.load("python-packages", overrides)
        parts = config.build(recipe)
        data = parts.data
        if 0 < pairs < len(data):
            data = Sample(data, pairs)
        return cls(parts, data, recipe["positives"])

    def positives(self) -> Columns:
        """Return who is near whom, made anew: the time it takes is part of a cold start."""
        return cast("Columns", registry.build("positives", self.relations, data=self.data))


def train_ours(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Train by `fit`; seconds are those from the pairs to the model on disk, without imports."""
    from nearfar.training.fit import fit

    os.environ["NEARFAR_CACHE"] = str(scratch)  # no tokens of an earlier run: a cold start, like the peer's
    parts, start = setting.parts, time.perf_counter()
    with PeakMemory() as memory:
        positives = setting.positives()
        run = fit(parts.encoder, positives, parts.loss, out=scratch / "run", quiet=True, **parts.training)
    seconds = time.perf_counter() - start
    _save_vectors(setting, scratch, lambda texts, role: run.model.embed(texts, role=role))
    return {
        "pairs_per_second": run.train_pairs_per_second,
        "seconds": seconds,
        "peak_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
    }


def train_peer(setting: Setting, scratch: Path, variant: dict[str, Any]) -> dict[str, Any]:
    """Train by SentenceTransformerTrainer; seconds are those from the pairs to the model in memory, without imports."""
    from _peer import Clock, trainer

    queries, keys = (setting.relations[role] for role in ("query", "key"))
    start = time.perf_counter()
    with PeakMemory() as memory:
        columns = {
            name: [cell for part in chunks(setting.data.column(name)) for cell in part] for name in (queries, keys)
        }
        clock = Clock()
        peer = trainer(columns, setting.parts, variant, clock, scratch)
        peer.train()
    seconds = time.perf_counter() - start
    model = peer.model
    _save_vectors(setting, scratch, lambda texts, _: model.encode(texts, batch_size=512, normalize_embeddings=True))
    return {
        "pairs_per_second": clock.pairs / (clock.done - clock.began),
        "pairs_seen": clock.pairs,
        "seconds": seconds,
        "peak_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
    }


def _save_vectors(setting: Setting, scratch: Path, embed: Any) -> None:
    task = setting.positives().task("heldout")
    for name, column, role in (("queries", task.queries, "query"), ("documents", task.documents, "key")):
        np.save(scratch / f"{name}.npy", np.asarray(embed(column.read(0, len(column)), role), np.float32))


def train(contestant: str, overrides: list[str], pairs: int, scratch: str, variant: dict[str, Any]) -> dict[str, Any]:
    """Train one contestant in this process; leave the vectors of the held-out split in `scratch`."""
    setting = Setting.of(overrides, pairs)
    torch.manual_seed(int(setting.parts.training["seed"]))
    folder = Path(scratch)
    result = train_ours(setting, folder) if contestant == "ours" else train_peer(setting, folder, variant)
    if not all(math.isfinite(value) for value in result.values()):
        raise SystemExit(f"{contestant}: not finite: {result}")
    return result | {"threads": torch.get_num_threads()}
