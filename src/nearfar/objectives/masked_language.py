"""Masked language modelling: hide some tokens of each text, and predict them from all the others."""

from __future__ import annotations

from typing import Any

from torch import nn

from nearfar.abilities import PredictsTokens
from nearfar.compute.draws import Draws
from nearfar.contracts import Terms
from nearfar.objectives.hiding.masking import Masking
from nearfar.objectives.hiding.token_targets import TokenTargets, refuse_no_tokens, token_terms


class MaskedLanguage(nn.Module):
    """The mean of -log p(token | the text with some tokens hidden) over the hidden tokens.

    Of each text's tokens, special ones aside, a share is hidden: most become [MASK], some another token at random, some
    stay, so that every token's state must say what stands there (Devlin et al. 2018, arXiv:1810.04805). p is a softmax
    over the vocabulary of the family's own head (BERT: a linear layer, an activation, a layer norm, the table of token
    vectors), which hidden tokens alone go through. The model folder opens as transformers' masked language model.

    Args:
        encoder: a `transformer` whose tokens see both sides: bert, roberta, distilbert, modernbert.
        share: of each text's tokens that are hidden: exactly round(share x tokens), at least one. 0.15 in BERT; 0.3
            or more teaches larger models more (Wettig et al. 2022, arXiv:2202.08005).
        random: of the hidden tokens, the share that becomes another token, drawn from all that are not special.
        kept: of the hidden tokens, the share that stays as it is. With 0 of both every hidden token is [MASK], and what
            the encoder makes of a token that it sees is never asked for: a bad start for a contrastive run.
        whole_words: hide all tokens of a word or none; it needs a tokenizer that says where words begin (one of
            WordPiece or GPT-2, or encoder.keeps=words).

    Errors: `InputError`: shares out of range; an encoder that predicts no tokens, has no mask token, or, with
    `whole_words`, tokens that do not say where words begin.

    Example: `objective: {name: masked_language, share: 0.3}` in a recipe without positives and loss.

    When not to use it: for vectors of whole texts by itself. It teaches tokens, and the pooled vector only what follows
    from them; train contrastively afterwards (the recipe finetune).
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: Any,
        share: float = 0.15,
        random: float = 0.1,
        kept: float = 0.1,
        whole_words: bool = False,
    ) -> None:
        super().__init__()
        refuse_no_tokens(encoder, "masked_language")
        self.share, self.random, self.kept, self.whole_words = share, random, kept, whole_words
        self.masking = Masking(share, random, kept, whole_words=whole_words)
        self.head: Any = None  # the encoder's, made when it has read the data

    def prepare(self, encoder: PredictsTokens) -> None:
        """Take the encoder's head for its own, and note what is known of the tokens."""
        if self.head is None:
            self.masking.learn(encoder.known_tokens())
            self.head = encoder.language_head("masked")

    def hide(self, inputs: Any, draws: Draws) -> tuple[Any, TokenTargets]:
        """Return texts as tokens with some of them hidden, and what was hidden."""
        return self.masking.hide(inputs, draws)

    def forward(self, encoder: PredictsTokens, inputs: Any, targets: TokenTargets) -> Terms:
        """Return the summed cross-entropy of the hidden tokens, and their number."""
        return token_terms(encoder, self.head, inputs, targets)
