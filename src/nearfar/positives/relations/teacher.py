"""A teacher without labels: the student before training, fused with BM25, scores questions and documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import normalize

from nearfar.column import Ids, take
from nearfar.compute.evaluating import evaluating
from nearfar.contracts import Encoder, Store
from nearfar.sides import side_of
from nearfar.text.bm25 import Bm25
from nearfar.text.prompts import prompted

BLOCK = 256  # questions of one product, and rows of one forward pass
MAX_SCORES = 2**25  # of one product
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TeacherLists:
    """The documents, of m, that the teacher lists for each of n questions, and their scores.

    neighbours, neighbour_scores: (n, k) the k best documents, in no order, and their scores. other_scores: (n, o) those
    of o documents that are the same for all questions. A score of -inf marks a document that is not listed.
    """

    neighbours: Ids
    neighbour_scores: Floats
    other_scores: Floats

    def __getitem__(self, examples: Ids) -> TeacherLists:
        return TeacherLists(self.neighbours[examples], self.neighbour_scores[examples], self.other_scores[examples])


def teacher_lists(
    encoder: Encoder,
    positives: Any,
    rows: Ids,
    bm25: Bm25,
    weight: float,
    unlisted: Callable[[Ids], npt.NDArray[np.bool_]],
    count: int,
    others: Ids,
) -> TeacherLists:
    """Return the best documents of all questions by t = z(cosine) + weight * z(BM25), with the scores.

    Args:
        encoder: the student before training.
        positives: has the views "query" and "key".
        rows: (m,) rows of the view "key", the documents.
        bm25: over the same documents.
        weight: of BM25.
        unlisted: from questions (b,) to (b, m): the documents that are not listed for them.
        count: neighbours, k, of each question.
        others: (o,) places among the m documents that are listed for all questions.
    """
    if torch.cuda.is_available():
        cast("nn.Module", encoder).cuda()
    questions, documents = (_store(encoder, positives, view) for view in ("query", "key"))
    keys = _vectors(encoder, documents, rows)  # (m, d)
    blocks = []
    size = max(1, min(BLOCK, MAX_SCORES // len(rows)))
    for start in range(0, len(positives), size):
        block = np.arange(start, min(start + size, len(positives)))
        texts = take(positives.views["query"], block)
        cosine = _vectors(encoder, questions, block) @ keys.T  # (b, m)
        scores = standardize(cosine) + np.float32(weight) * standardize(bm25.score_all(texts))
        scores[unlisted(block)] = -np.inf
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        blocks.append(TeacherLists(best, np.take_along_axis(scores, best, axis=1), scores[:, others]))
    return TeacherLists(
        np.concatenate([lists.neighbours for lists in blocks]),
        np.concatenate([lists.neighbour_scores for lists in blocks]),
        np.concatenate([lists.other_scores for lists in blocks]),
    )


def standardize(scores: Floats) -> Floats:
    """Return scores (b, m) minus their row's mean, over its standard deviation; zeros where all are equal."""
    deviation = scores.std(1, keepdims=True)
    z: Floats = (scores - scores.mean(1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return z


def _store(encoder: Encoder, positives: Any, view: str) -> Store:
    return side_of(encoder, positives, view).store(prompted(encoder, positives, view))


@torch.no_grad()
def _vectors(encoder: Encoder, store: Store, rows: Ids) -> Floats:
    """Return unit vectors (r, d) of some rows of a store, without dropout."""
    device = next((p.device for p in cast("nn.Module", encoder).parameters()), torch.device("cpu"))
    parts = (store[rows[start : start + BLOCK]].to(device) for start in range(0, len(rows), BLOCK))
    with evaluating(encoder):
        return torch.cat([normalize(encoder(part).float(), dim=1).cpu() for part in parts]).numpy()
