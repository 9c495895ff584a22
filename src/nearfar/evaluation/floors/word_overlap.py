"""Word overlap: pairs of texts are as similar as the words that they share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nearfar import tasks
from nearfar.column import Column
from nearfar.contracts import Predictions, Values
from nearfar.errors import InputError
from nearfar.text.analyser import words

_SLICE = 10_000  # pairs read at a time


class WordOverlapFloor:
    """Jaccard's index of the word sets of two texts, |A and B| / |A or B|: lower-cased, without stems or stop words."""

    takes: ClassVar[tuple[type, ...]] = (tasks.Similarity, tasks.PairLabels)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Similarity, tasks.PairLabels)
    fused: ClassVar[bool] = False
    matches_words: ClassVar[bool] = True

    def __call__(self, task: tasks.Similarity | tasks.PairLabels, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the scores of the pairs, and of the dev pairs where there are some."""
        dev = task.dev if isinstance(task, tasks.PairLabels) else None
        return Predictions(
            scores=_overlaps(task.first, task.second),
            dev_scores=None if dev is None else _overlaps(dev.first, dev.second),
            about={"name": "word-overlap", "score": "Jaccard's index of the word sets"},
        )


def _overlaps(first: Column, second: Column) -> Values:
    found = []
    for start in range(0, len(first), _SLICE):
        stop = min(start + _SLICE, len(first))
        found += [_overlap(a, b) for a, b in zip(first.read(start, stop), second.read(start, stop), strict=True)]
    return np.array(found, np.float64)


def _overlap(first: Any, second: Any) -> float:
    if not isinstance(first, str) or not isinstance(second, str):
        raise InputError(f"word-overlap: a pair must be two texts, it is {first!r:.40} and {second!r:.40}")
    a, b = set(words(first, identifiers=False)), set(words(second, identifiers=False))
    return len(a & b) / len(a | b) if a | b else 0.0
