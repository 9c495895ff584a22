"""The frequencies of tokens: what can be counted of a token without looking at the text."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nearfar import tasks
from nearfar.column import Ids
from nearfar.contracts import Predictions, TokenScores, Values
from nearfar.evaluation.floors.language.documents import tokens_of

BLOCK = 1 << 20  # ids counted at once; numpy makes a copy of 8 bytes each


class TokenFrequencyFloor:
    """Each token by its share of the training tokens, each counted once more; the most frequent one is the answer.

    Special tokens aside, but for those that a decoder is asked for, as the end of a text. A model that is not above it
    has learnt nothing of how tokens follow from each other.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Language,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Language,)
    fused: ClassVar[bool] = False

    def __call__(self, task: tasks.Language, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the scores of hidden and of next tokens. Errors: `InputError` for a task without tokens."""
        tokens = tokens_of(task)
        counts = _counts(tokens.train_ids, len(tokens.special)) + 1
        if tokens.end is not None:
            counts[tokens.end] += tokens.train_ends.sum()
        asked = np.unique(tokens.next_ids)  # the end of a text, which is special, and of some tokenizers others
        counted = ~tokens.special | np.isin(np.arange(len(counts)), asked)
        counts = np.where(counted, counts, 0.0)
        about = {
            "name": "token-frequency",
            "training tokens": int(len(tokens.train_ids) + tokens.train_ends.sum()),
            "smoothing": "one more of each",
        }
        if len(tokens.hidden):
            scores = _scores(counts, tokens.ids[tokens.hidden], tokens.text_of(tokens.hidden))
            return Predictions(hidden_tokens=scores, about=about)
        scores = _scores(counts, tokens.next_ids, tokens.text_of(tokens.next_places))
        return Predictions(next_tokens=scores, about=about)


def _counts(ids: npt.NDArray[np.int32], size: int) -> Values:
    """Return how often each of the tokens (v,) stands among ids (s,), which may be on disk: read block by block."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=size)
    return counts.astype(np.float64)


def _scores(counts: Values, asked: Ids, rows: Ids) -> TokenScores:
    """Return the scores of the tokens asked for (h,), by the counts (v,) of all."""
    likelihood = np.log(counts, where=counts > 0, out=np.full(len(counts), -np.inf)) - np.log(counts.sum())
    return TokenScores(rows, likelihood[asked], asked == counts.argmax())
