"""Kneser-Ney: the next token predicted by counts of up to five tokens in a row."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions, TokenScores
from nearfar.evaluation.floors.language.documents import counted_texts, judged_texts, tokens_of
from nearfar.evaluation.floors.language.kneser_ney import KneserNey


class KneserNeyFloor:
    """The next token by counts of n-grams in the training texts, smoothed as `language.kneser_ney` says; order: n.

    It reads the tokens that the model reads: texts are cut where the model cuts them, and their ends count where the
    model predicts them. A model that is not above it has learnt nothing beyond a few tokens in a row.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Language,)
    reads: ClassVar[tuple[str, ...]] = ("text",)
    usual: ClassVar[tuple[type, ...]] = (tasks.Language,)
    fused: ClassVar[bool] = False

    def __init__(self, order: int = 5) -> None:
        self.order = order

    def serves(self, task: tasks.Language) -> bool:
        """Return whether a task asks for next tokens, as far as it is known: not where the model sees both sides."""
        return task.tokens is None or len(task.tokens.next_places) > 0

    def __call__(self, task: tasks.Language, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the scores of next tokens. Errors: `InputError` for a task without tokens."""
        tokens = tokens_of(task)
        training, facts = counted_texts(tokens)
        model = KneserNey.fit(training, len(tokens.special), self.order)
        texts, places = judged_texts(tokens)
        values, answers = model.predict(texts)
        rows, right = tokens.text_of(tokens.next_places), answers[places] == tokens.next_ids
        about = {**model.about, "name": "kneser-ney", "label": f"Kneser-Ney {self.order}-grams", **facts}
        return Predictions(next_tokens=TokenScores(rows, np.minimum(values[places], 0.0), right), about=about)
