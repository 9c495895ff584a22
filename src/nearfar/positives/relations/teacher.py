"""A teacher without labels: an encoder as it comes, fused with BM25, and what it says of questions and documents."""

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
from nearfar.contracts import Encoder, Store
from nearfar.text.bm25 import Bm25
from nearfar.text.prompts import prompted, side_of

QUESTION_BLOCK = 256  # questions scored, and cells encoded, at once
SCORES = 2**25  # of a block, at most
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TeacherLists:
    """What the teacher says of n questions about m documents.

    near, scores: (n, k) the documents that it puts first, in no order, and their scores. others: (n, o) the scores of o
    documents that are the same for all. -inf: a passage of the question's own document.
    """

    near: Ids
    scores: Floats
    others: Floats

    def __getitem__(self, examples: Ids) -> TeacherLists:
        return TeacherLists(self.near[examples], self.scores[examples], self.others[examples])


def teacher_lists(
    encoder: Encoder,
    positives: Any,
    rows: Ids,
    bm25: Bm25,
    weight: float,
    own: Callable[[Ids], npt.NDArray[np.bool_]],
    count: int,
    others: Ids,
) -> TeacherLists:
    """Return the scores t = z(cosine) + weight * z(BM25) of all questions, block by block.

    positives: has the views "query" and "key". rows: (m,) those of "key" that are documents; bm25 is over them.
    own: (questions (b,)) -> (b, m), which documents are not to be listed. count: of those listed as near. others: (o,).
    """
    if torch.cuda.is_available():
        cast("nn.Module", encoder).cuda()
    questions, documents = (_stored(encoder, positives, view) for view in ("query", "key"))
    keys = _vectors(encoder, documents, rows)  # (m, d)
    found = []
    size = max(1, min(QUESTION_BLOCK, SCORES // len(rows)))
    for start in range(0, len(positives), size):
        block = np.arange(start, min(start + size, len(positives)))
        cosine = _vectors(encoder, questions, block) @ keys.T  # (b, m)
        total = standardize(cosine) + np.float32(weight) * standardize(
            bm25.score_all(take(positives.views["query"], block))
        )
        total[own(block)] = -np.inf
        best = np.argpartition(-total, count - 1, axis=1)[:, :count]
        found.append(TeacherLists(best, np.take_along_axis(total, best, axis=1), total[:, others]))
    return TeacherLists(
        *(np.concatenate([getattr(part, name) for part in found]) for name in ("near", "scores", "others"))
    )


def standardize(scores: Floats) -> Floats:
    """Return scores (b, m) less their mean, over their deviation; zeros where all are equal."""
    spread = scores.std(1, keepdims=True)
    found: Floats = (scores - scores.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return found


def _stored(encoder: Encoder, positives: Any, view: str) -> Store:
    return side_of(encoder, positives, view).store(prompted(encoder, positives, view))


@torch.no_grad()
def _vectors(encoder: Encoder, store: Store, rows: Ids) -> Floats:
    """Return unit vectors (r, d) of some rows of a store, by the encoder as it is."""
    module = cast("nn.Module", encoder)
    training = module.training
    module.eval()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    parts = (store[rows[start : start + QUESTION_BLOCK]].to(device) for start in range(0, len(rows), QUESTION_BLOCK))
    found = torch.cat([normalize(encoder(part).float(), dim=1).cpu() for part in parts])
    module.train(training)
    return found.numpy()
