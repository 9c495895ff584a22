"""RetroMAE: a weak decoder must predict hidden tokens from the vector of the text."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding

from nearfar.abilities import PoolsStates, PredictsTokens, max_length_of
from nearfar.compute.draws import Draws
from nearfar.contracts import Terms
from nearfar.errors import InputError
from nearfar.objectives.hiding.masking import LANES, Masking
from nearfar.objectives.hiding.one_layer_decoder import OneLayerDecoder
from nearfar.objectives.hiding.token_targets import ReconstructionTargets, refuse_no_tokens, summed_cross_entropy

WITHOUT_LIMIT = 512  # tokens of a text, of an encoder that says no maximum


class RetroMae(nn.Module):
    """The mean of -log p(token) over hidden tokens, those of the encoder and those of a decoder that gets the vector.

    (Xiao et al. 2022, arXiv:2205.12035.) The encoder reads the text with a small share of its tokens hidden, and
    predicts them as masked_language does. A decoder of one layer gets the pooled vector of that text and its tokens
    with a large share hidden, drawn anew, and predicts those: what the few tokens left do not say must be in the
    vector. It is the paper's basic decoding; the enhanced one, in which each place sees other tokens, is not here. Both
    use one head and one table of tokens. The decoder is trained and stays in the checkpoints.

    Args:
        encoder: a `transformer` whose tokens see both sides, with one pooling (mean or cls).
        share, random, kept, whole_words: of what is hidden from the encoder, see `masked_language`.
        decoder_share: of each text's tokens that are hidden from the decoder, all of them by the mask.
        decoder_heads: of the decoder's attention.

    Errors: those of `masked_language`; `InputError` for a vector of another width than the states, and for heads that
    do not divide it.

    Example: `objective: {name: retromae, share: 0.3, decoder_share: 0.5}` in a recipe without positives and loss.

    When not to use it: to fill in words, which masked_language learns without a second forward pass.
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: Any,
        share: float = 0.3,
        decoder_share: float = 0.5,
        random: float = 0.1,
        kept: float = 0.1,
        whole_words: bool = False,
        decoder_heads: int = 4,
    ) -> None:
        super().__init__()
        refuse_no_tokens(encoder, "retromae")
        if not isinstance(encoder, PoolsStates):
            raise InputError(
                f"objective retromae: the encoder {type(encoder).__name__} does not pool states; take "
                "encoder.name=transformer"
            )
        if decoder_heads < 1:
            raise InputError(f"objective.decoder_heads must be at least 1, it is {decoder_heads}")
        self.share, self.decoder_share, self.random, self.kept = share, decoder_share, random, kept
        self.whole_words, self.decoder_heads = whole_words, decoder_heads
        self.encoder_masking = Masking(share, random, kept, whole_words=whole_words)
        self.decoder_masking = Masking(decoder_share, 0.0, 0.0, whole_words=False, name="decoder_share")
        self.head: Any = None  # the encoder's, made when it has read the data
        self.decoder: OneLayerDecoder | None = None

    def prepare(self, encoder: PredictsTokens) -> None:
        """Take the encoder's head for its own, note what is known of the tokens, and make the decoder."""
        if self.head is not None:
            return
        known, head = encoder.known_tokens(), encoder.language_head("masked")
        self.encoder_masking.learn(known)
        self.decoder_masking.learn(known)
        width, dim = head.weight.shape[1], int(encoder.dim)  # type: ignore[attr-defined]
        if dim != width:
            raise InputError(
                f"objective retromae: vectors have {dim} numbers and tokens {width}; take one pooling "
                "(encoder.pooling=mean) and no dense layer after it"
            )
        if width % self.decoder_heads:
            raise InputError(f"objective.decoder_heads: {self.decoder_heads} do not divide the width {width}")
        longest = max_length_of(encoder)
        self.decoder = OneLayerDecoder(width, longest or WITHOUT_LIMIT, self.decoder_heads)
        self.head = head

    def hide(self, inputs: Any, draws: Draws) -> tuple[Any, ReconstructionTargets]:
        """Return texts as tokens with some hidden, and what the encoder and the decoder are to predict."""
        of_encoder, encoder_targets = self.encoder_masking.hide(inputs, draws)
        of_decoder, decoder_targets = self.decoder_masking.hide(inputs, draws, first_lane=LANES)
        return of_encoder, ReconstructionTargets(encoder_targets, of_decoder.ids, decoder_targets)

    def forward(self, encoder: Any, inputs: Any, targets: ReconstructionTargets) -> Terms:
        """Return the summed cross-entropy of all target tokens, of the encoder and the decoder, and their number."""
        assert self.decoder is not None
        states = encoder.states(inputs)
        count = len(targets.encoder.places) + len(targets.decoder.places)
        if not count:
            return Terms(states.values.sum(), 0)
        lengths = torch.from_numpy(inputs.costs()).to(targets.decoder_ids.device)
        embedded = embedding(targets.decoder_ids, self.head.weight)  # (t, d)
        decoded = self.decoder(encoder.pooled(states), embedded, lengths)  # (t, d)
        of_encoder = summed_cross_entropy(self.head, states.values[targets.encoder.places], targets.encoder.tokens)
        of_decoder = summed_cross_entropy(self.head, decoded[targets.decoder.places], targets.decoder.tokens)
        return Terms(of_encoder + of_decoder, count)
