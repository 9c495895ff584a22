"""Neighbour counts: a hidden token predicted from its two neighbours, by counts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions, TokenScores
from nearfar.evaluation.floors.language.documents import counted_texts, tokens_of
from nearfar.evaluation.floors.language.neighbours import NeighbourCounts


class NeighbourCountsFloor:
    """The hidden token by how often each token stood between its two neighbours in the training texts.

    Where these two never had a token between them it is what followed the left one, and so on (`language.neighbours`).
    The same tokens are hidden as for the model, all of a text's at once: a neighbour that is hidden, too, says nothing.
    A model that is not above it has learnt nothing beyond pairs of neighbours.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Language,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Language,)
    fused: ClassVar[bool] = False

    def serves(self, task: tasks.Language) -> bool:
        """Return whether a task asks for hidden tokens, as far as it is known: not where the model is a decoder."""
        return task.tokens is None or len(task.tokens.hidden) > 0

    def __call__(self, task: tasks.Language, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the scores of hidden tokens. Errors: `InputError` for a task without tokens."""
        tokens = tokens_of(task)
        training, facts = counted_texts(tokens)
        model = NeighbourCounts.fit(training, len(tokens.special), tokens.special)
        hidden = np.zeros(len(tokens.ids), np.bool_)
        hidden[tokens.hidden] = True
        borders = tokens.offsets[1:-1]
        values, answers = model.predict(np.split(tokens.ids, borders), np.split(hidden, borders))
        scores = TokenScores(tokens.text_of(tokens.hidden), values, answers == tokens.ids[tokens.hidden])
        about = {
            "name": "neighbour-counts",
            "answer": "the most frequent token between both neighbours, else after the left one, else before the right",
            "probability": "Witten-Bell: between both over the mean of the two sides, these over single tokens",
            **facts,
        }
        return Predictions(hidden_tokens=scores, about=about)
