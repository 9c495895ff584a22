"""What a language model of transformers predicts of a text: the tokens behind it, or in the place of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from nearfar.abilities import KnownTokens, PredictsTokens, max_length_of
from nearfar.encoders.reading.tokens import Tokens


def beginning_ids(encoder: PredictsTokens, known: KnownTokens, text: str) -> list[int]:
    """Return the tokens of a text that a model continues: without the end that some tokenizers put behind each text."""
    ids: list[int] = cast("Any", encoder).tokenise([text])[0].tolist()
    while len(ids) > 1 and known.special[ids[-1]]:
        ids.pop()
    return ids


def mask_probabilities(
    encoder: PredictsTokens, head: Any, known: KnownTokens, ids: Sequence[int], places: Sequence[int]
) -> Tensor:
    """Return the probabilities (p, v) of the tokens at some places of a text, which hold the mask."""
    logits = _logits(encoder, head, ids, places)  # (p, v)
    logits[:, torch.from_numpy(known.special)] = -torch.inf
    return logits.softmax(1)


def generated(
    encoder: PredictsTokens,
    head: Any,
    known: KnownTokens,
    ids: Sequence[int],
    tokens: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[list[int], bool]:
    """Return the token ids of a text and at most so many tokens behind it, and whether the text came to its end.

    temperature, generator: of draws, see `uses.complete`; without a generator each token is the likeliest one.
    """
    written, longest = list(ids), max_length_of(encoder)
    special = torch.from_numpy(known.special).clone()
    if known.end is not None:
        special[known.end] = False
    for _ in range(tokens if longest is None else min(tokens, longest - len(written))):
        logits = _logits(encoder, head, written, [len(written) - 1])[0]  # (v,)
        logits[special] = -torch.inf
        if generator is None:
            token = int(logits.argmax())
        else:
            scaled = (logits.double() - logits.max()) / temperature  # the largest is 0, however cold it is
            token = int(torch.multinomial(scaled.softmax(0), 1, generator=generator))
        if token == known.end:
            return written, True
        written.append(token)
    return written, False


def _logits(encoder: PredictsTokens, head: Any, ids: Sequence[int], places: Sequence[int]) -> Tensor:
    """Return the logits (p, v) at some places of a text of token ids."""
    inputs = Tokens.of(torch.tensor(list(ids)), np.array([len(ids)])).to(head.weight.device)
    return linear(head(encoder.states(inputs).values[list(places)]), head.weight, head.bias).float().cpu()
