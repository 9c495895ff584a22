"""What a tokenizer of transformers tells of each of its tokens: which are special, which go on with a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.abilities import KnownTokens
from nearfar.encoders.pretrained.backbone import is_causal, vocabulary

TRIAL = "near"  # a text, to see what the tokenizer puts behind it
SPACES = ("\u0120", "\u2581")  # how a token says that a space stands in front of it: bytes (GPT-2), SentencePiece


def known_tokens(tokenizer: Any, model: Any) -> KnownTokens:
    """Return what is known of the tokens of a model; rows of its table that are no token's are special.

    Tokens say where words begin in one of two ways: "##" in front of those that go on with one (WordPiece), or a space
    in front of those that begin one. Where no token says either, `continues` is None.
    """
    rows = vocabulary(model)
    tokens: list[str] = [""] * rows
    special = np.ones(rows, bool)
    added = {int(id_): token.special for id_, token in tokenizer.added_tokens_decoder.items()}
    for token, id_ in tokenizer.get_vocab().items():
        tokens[id_], special[id_] = token, added.get(id_, False)
    special[list(tokenizer.all_special_ids)] = True
    last = int(([-1] + tokenizer(TRIAL)["input_ids"])[-1])
    mask, end = (None if one is None else int(one) for one in (tokenizer.mask_token_id, tokenizer.eos_token_id))
    closing = tokens[last] if last >= 0 and special[last] and last != end else None
    continues = _continues(tokens, special)
    return KnownTokens(special, mask, tokenizer.mask_token, continues, is_causal(model), end, closing)


def _continues(tokens: Sequence[str], special: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    of_text = ~special
    pieces = np.array([token.startswith("##") and len(token) > 2 for token in tokens]) & of_text
    begins = np.array([token.startswith(SPACES) for token in tokens]) & of_text
    if pieces.any() and not begins.any():
        return pieces
    return ~begins & of_text if begins.sum() > 1 else None  # the byte of a space is in every table of bytes
