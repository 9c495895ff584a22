"""Hidden tokens: how often a masked language model predicts them, and how sure it is of them."""

from __future__ import annotations

from typing import ClassVar

from nearfar import tasks
from nearfar.contracts import Measurement, Predictions
from nearfar.metrics.answers.over_tokens import TokenMeans


class HiddenTokens:
    """The share of hidden tokens predicted right, and the mean log-likelihood of one, over all tokens of all texts.

    A text counts by the number of its hidden tokens, as in the loss. The log-likelihood is in nats: its negative is the
    cross-entropy, and the exponential of that the perplexity (Jelinek et al. 1977), the number of equally likely tokens
    that would be as hard to predict. Numbers depend on the tokenizer: compare models with the same one.

    Call: a task of n texts and the scores of h hidden tokens -> two statistics and a number.

    Errors: `InputError` for predictions without scores of hidden tokens.

    When not to use it: to choose a model for search. What a model knows of tokens is not what its vectors tell apart.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Language,)
    needs: ClassVar[tuple[str, ...]] = ("hidden_tokens",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "hidden_accuracy": "share of the hidden tokens that were preferred to every other, 0 to 1",
        "hidden_log_likelihood": "mean log-likelihood of a hidden token, in nats; higher is better",
        "hidden_perplexity": "exponential of the negative mean log-likelihood; lower is better",
    }

    def __call__(self, task: tasks.Language, predictions: Predictions) -> dict[str, Measurement]:
        """Return the values by name."""
        means = TokenMeans.of(predictions.hidden_tokens, len(task.clusters), "hidden")
        return {
            "hidden_accuracy": means.accuracy,
            "hidden_log_likelihood": means.log_likelihood,
            "hidden_perplexity": means.perplexity,
        }
