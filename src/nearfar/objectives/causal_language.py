"""Causal language modelling: predict each token from those before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nearfar.abilities import PredictsTokens, max_length_of
from nearfar.compute.draws import Draws
from nearfar.contracts import Terms
from nearfar.errors import InputError
from nearfar.objectives.hiding.next_tokens import next_tokens
from nearfar.objectives.hiding.token_targets import TokenTargets, refuse_no_tokens, token_terms


class CausalLanguage(nn.Module):
    """The mean of -log p(token | all tokens before it in its text) over all tokens but the first of each text.

    (Bengio et al. 2003, "A neural probabilistic language model"; Radford et al. 2018, "Improving language understanding
    by generative pre-training".) The texts of a batch lie in one row, in which none sees another. Behind the last token
    of a text the tokenizer's end token is predicted, unless the text was cut at the maximum length. The model folder
    opens as transformers' causal language model, and generates there.

    Args:
        encoder: a `transformer` whose tokens see those before them alone: a folder of gpt2, llama, qwen, or a new one,
            with encoder.keeps=text, so that it can write.

    Errors: `InputError` for an encoder that predicts no tokens, whose tokens see those behind them, or whose tokenizer
    ends every text with a special token (encoder.keeps of letters or words), so that it could not go on with one.

    Example: `objective: {name: causal_language}` in a recipe without positives and loss.

    When not to use it: for vectors of texts, where a model that sees both sides (masked_language) is better for its
    size; and for writing well, which takes far more text and weights than a few minutes of training.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        refuse_no_tokens(encoder, "causal_language")
        self.head: Any = None  # the encoder's, made when it has read the data
        self.end: int | None = None
        self.longest: int | None = None

    def prepare(self, encoder: PredictsTokens) -> None:
        """Take the encoder's head for its own, and note which token ends a text."""
        if self.head is None:
            known, head = encoder.known_tokens(), encoder.language_head("causal")
            if known.closing is not None:
                raise InputError(
                    f"objective causal_language: the tokenizer ends every text with {known.closing}, so that the model "
                    "could not go on with one; take encoder.keeps=text for a new one, else a folder that writes"
                )
            self.head, self.end = head, known.end
            self.longest = max_length_of(encoder)

    def hide(self, inputs: Any, draws: Draws) -> tuple[Any, TokenTargets]:  # noqa: ARG002  nothing is drawn
        """Return the texts as they are: what comes next is hidden by the encoder, which looks back alone."""
        ids: Tensor = inputs.ids
        lengths = torch.from_numpy(inputs.costs()).to(ids.device)
        return inputs, TokenTargets(*next_tokens(ids, lengths, self.end, self.longest))

    def forward(self, encoder: PredictsTokens, inputs: Any, targets: TokenTargets) -> Terms:
        """Return the summed cross-entropy of the next tokens, and their number."""
        return token_terms(encoder, self.head, inputs, targets)
