"""kNN while training: on labelled pictures that are kept back from training, so that no test picture is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from nearfar.abilities import labels_of, picture_size, side
from nearfar.column import Column, Ids, ListColumn, column_kind, content_ids, take
from nearfar.compute.evaluating import evaluating
from nearfar.contracts import Encoder, Positives, Predictions, Values
from nearfar.data.picture_sets.split import drawn
from nearfar.metrics.knn import Knn
from nearfar.tasks import Labels
from nearfar.training.encode import RowEncoder, micro_batches
from nearfar.training.log import RunLogger
from nearfar.training.settings import Settings
from nearfar.training.step import GradientStep
from nearfar.vectors.embed import Vectors

QUERIES, SHARE = 1_000, 0.05  # kept back: at most so many pictures, and at most this share
FEWEST = 40  # with fewer queries a point says nothing
BANK = 4_000  # trained pictures that vote, at most, and at most half of all
BYTES = 128e6  # that the pictures of both may take as the encoder reads them: of large ones there are fewer
ROWS_BETWEEN = 8  # rows trained on for each that a point encodes: one to three per cent of the time
POINTS = 20  # between the first step and the last, at most
BLOCK = 256  # pictures encoded together, where the settings say nothing
METRIC = Knn(20)


@dataclass(frozen=True)
class KnnRows:
    """The pictures that are asked for, which training does not see, those that vote, and all that training sees.

    All are examples, ascending. cells: of all examples; classes (n,): their classes, as numbers.
    """

    queries: Ids
    bank: Ids
    train: Ids
    cells: Column
    classes: Ids

    @classmethod
    def of(
        cls, positives: Positives, encoder: Encoder, settings: Settings, among: Ids | None
    ) -> tuple[KnnRows | None, str | None]:
        """Return the rows; or None, and why there are none: in a line for pictures, None for all else.

        They are drawn from each class alike, by a hash of their content, equal pictures together. among: the examples
        of training, ascending; None for all.
        """
        labelled = labels_of(positives)
        if not settings.online_knn or labelled is None or column_kind(labelled.cells) != "image":
            return None, None
        cells, classes = labelled.cells, labelled.classes
        if classes is None or (classes < 0).any():
            which = "the" if classes is None else "some"
            return None, f"no kNN while training: {which} pictures have no classes"
        among = np.arange(len(classes)) if among is None else among
        ids, n, size = content_ids(cells)[among], len(among), picture_size(side(encoder, "key"))
        most = math.inf if size is None else BYTES / (3 * size * size)
        wanted = int(min(QUERIES, SHARE * n, most / 5))
        out = drawn(ids, classes[among], wanted / n, settings.seed, leave=True)
        if wanted < FEWEST or out.sum() > 2 * wanted:
            few = f"{SHARE:.0%} of {n:,} pictures are too few to judge by"
            return None, f"no kNN while training: {few if wanted < FEWEST else 'the classes are too small'}"
        train = among[~out]
        share = min(BANK, n / 2, most * 4 / 5) / len(train)
        votes = drawn(ids[~out], classes[train], share, settings.seed, leave=False)
        return cls(among[out], train[votes], train, cells, classes), None


class OnlineKnn:
    """The share of the pictures kept back whose class their 20 nearest of the trained ones vote for (`metrics.knn`).

    It is measured after the first and the last step and at even distances between: at most 20 times in a run, and at
    most once for eight times as many trained rows as it encodes. The event "online" says of how many pictures it is. No
    decision hangs on it.
    """

    def __init__(self, rows: KnnRows, step: GradientStep, shipped: Encoder, logger: RunLogger) -> None:
        self.rows, self.step, self.logger, self.steps = rows, step, logger, logger.plan.steps
        self.encode = RowEncoder(shipped, True, step.encode.device, step.encode.precision)
        self.of = {"queries": len(rows.queries), "among": len(rows.bank)}
        self.every = max(
            math.ceil(self.steps / POINTS), math.ceil(ROWS_BETWEEN * sum(self.of.values()) / logger.plan.batch_size)
        )
        self.last: dict[str, float] = {}

    def due(self, step: int) -> bool:
        """Return whether there is a point after this step."""
        return step in (1, self.steps) or step % self.every == 0

    def log(self, step: int) -> None:
        """Measure, log and show it."""
        self.last = self()
        self.logger.log("online", step=step, metrics=self.last, of=self.of)
        self.logger.progress.show(step, online_knn=next(iter(self.last.values())))

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the share of hits by its name."""
        module = self.step.train_state.module
        with evaluating(module):
            vectors = {name: self._vectors(inputs) for name, inputs in self._inputs.items()}
        name = next(iter(METRIC.meaning))
        hits = METRIC(self._task, Predictions(vectors))[name]
        return {name: float(np.mean(cast("Values", hits)))}

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        """The pictures as the encoder reads them, read once."""
        return {"cells": self._read(self.rows.queries), "train": self._read(self.rows.bank)}

    def _read(self, rows: Ids) -> Any:
        """Return the inputs of some pictures, of which few are in memory at a time in their own size."""
        reader = side(self.encode.encoder, "key")
        blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
        first, *others = [reader.inputs(take(self.rows.cells, block)) for block in blocks]
        return first.join(others)

    def _vectors(self, inputs: Any) -> Vectors:
        settings = self.step.settings
        if not (settings.micro_batch or settings.micro_cost):
            settings = replace(settings, micro_batch=BLOCK)
        vectors: Vectors = self.encode.without_graph(inputs, micro_batches(inputs, settings)).float().cpu().numpy()
        return vectors

    @cached_property
    def _task(self) -> Labels:
        rows, classes = self.rows, self.rows.classes
        cells, train = (ListColumn("example", part.tolist()) for part in (rows.queries, rows.bank))  # never read
        names = [str(code) for code in range(int(classes.max()) + 1)]
        labels = classes[rows.queries], classes[rows.bank]
        return Labels("kept back", cells, labels[0], train, labels[1], names, np.arange(len(rows.queries)))
