"""Next tokens: how sure a causal language model is of each token, from those before it."""

from __future__ import annotations

from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Measurement, Predictions
from nearfar.metrics.answers.over_tokens import TokenMeans


class NextTokens:
    """The mean log-likelihood of the next token, its perplexity and bits per byte, and the share predicted right.

    Over all tokens of all texts, each but the first of its text, and the end of each that was not cut. Bits per byte,
    -sum log2 p / bytes, can be compared between models of different tokens; it is left out where the tokens do not say
    all of the text, as in lower case, which would make it too small.

    Call: a task of n texts and the scores of h tokens -> two statistics and up to two numbers.

    Errors: `InputError` for predictions without scores of next tokens.

    When not to use it: to compare the perplexities of models with different tokenizers; bits per byte are for that.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Language,)
    needs: ClassVar[tuple[str, ...]] = ("next_tokens",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "next_log_likelihood": "mean log-likelihood of the next token, in nats; higher is better",
        "next_accuracy": "share of the next tokens that were preferred to every other, 0 to 1",
        "perplexity": "exponential of the negative mean log-likelihood; lower is better",
        "bits_per_byte": "negative log2-likelihood of all tokens over the bytes that they stand for; lower is better",
    }

    def __call__(self, task: tasks.Language, predictions: Predictions) -> dict[str, Measurement]:
        """Return the values by name."""
        means = TokenMeans.of(predictions.next_tokens, len(task.clusters), "next")
        found: dict[str, Measurement] = {
            "next_log_likelihood": means.log_likelihood,
            "next_accuracy": means.accuracy,
            "perplexity": means.perplexity,
        }
        if task.tokens is not None and task.tokens.text_bytes:
            found["bits_per_byte"] = means.bits / task.tokens.text_bytes
        return found
