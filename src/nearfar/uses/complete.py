"""Completing a text with a language model: a masked one fills in what is missing, a causal one goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch

from nearfar.abilities import KnownTokens, PredictsTokens, Truncates, max_length_of
from nearfar.coerce import LARGEST, refuse_seed
from nearfar.compute.evaluating import evaluating
from nearfar.encoders.pretrained.completing import beginning_ids, generated, mask_probabilities
from nearfar.errors import InputError
from nearfar.model import Model

HOTTEST = 1_000  # temperature; far below it all tokens are equally likely already
BLANK = "[MASK]"  # what stands for a missing token, whatever the model's own mask is called


@dataclass(frozen=True)
class Candidate:
    """A token for a blank, without white space around it unless it is nothing else, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Completion:
    """A completed text.

    kind: "masked" or "causal". text: all of it, of a masked model with the best token in each blank. blanks: of each
    the best tokens, best first. continuation: what a causal model wrote; ended: whether with the token that ends texts.
    """

    kind: str
    text: str
    blanks: list[list[Candidate]] = field(default_factory=list)
    continuation: str = ""
    ended: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def complete(
    model: Model, text: str, *, tokens: int = 40, temperature: float = 0.0, top: int = 5, seed: int = 0
) -> Completion:
    """Return a text completed by a language model.

    A masked model (bert) fills each [MASK], all at once: each by itself, given the others as blanks. A causal one (gpt)
    goes on for at most `tokens` tokens, or up to the token that ends texts.

    Args:
        temperature: of the draws of a causal model, which divides the logits; 0 takes the likeliest token each time.
        top: how many tokens are named for each blank. seed: of the draws.

    Errors: `InputError`: a model that predicts no tokens, or whose folder has no head that was trained to; an empty
    text, one without [MASK] for a masked model, or as long as the model reads; numbers out of range.

    When not to use it: for facts. It says what is likely in the texts that it was trained on.
    """
    _refuse_numbers(tokens, temperature, top, seed)
    encoder = model.encoder
    if not isinstance(encoder, PredictsTokens):
        raise InputError(f"{_name(model)}: {type(encoder).__name__} predicts no tokens; {_FIX}")
    known = encoder.known_tokens()
    head = encoder.language_head(known.kind)
    if model.folder is not None and not head.trained:
        raise InputError(f"{_name(model)}: a model of vectors, whose folder has no head that predicts tokens; {_FIX}")
    if not text.strip():
        raise InputError("complete: the text is empty; give a few words to begin with")
    with evaluating(encoder, head), torch.inference_mode():
        if known.causal:
            generator = torch.Generator().manual_seed(seed) if temperature else None
            return _continued(encoder, head, known, text, tokens, temperature, generator)
        return _filled(encoder, head, known, text, top)


def _refuse_numbers(tokens: int, temperature: float, top: int, seed: int) -> None:
    for name, number in (("tokens", tokens), ("top", top)):
        if number < 1:
            raise InputError(f"complete: {name} must be at least 1, it is {number}")
    if not 0 <= temperature < HOTTEST:
        raise InputError(
            f"complete: temperature must be at least 0 (the likeliest token each time) and below {HOTTEST:,}; it is "
            f"{temperature:g}"
        )
    refuse_seed(seed, "complete: seed")
    if seed >= LARGEST:
        raise InputError(f"complete: seed must be below 2 ** 63, this one has {seed.bit_length()} bits")


_FIX = "give a language model: of the recipe masked_language or causal_language, or of transformers"


def _name(model: Model) -> str:
    return "this model" if model.folder is None else str(model.folder)


def _filled(encoder: PredictsTokens, head: Any, known: KnownTokens, text: str, top: int) -> Completion:
    asked = text.replace(BLANK, known.mask_text or BLANK)
    ids = cast("Any", encoder).tokenise([asked])[0].tolist()
    places = [i for i, one in enumerate(ids) if one == known.mask]
    if isinstance(encoder, Truncates) and encoder.truncated([asked])[0]:
        raise InputError(
            f"complete: the text is longer than the {encoder.max_length} tokens that the model reads, so that its end "
            "would be lost; give a shorter one"
        )
    if not places:
        raise InputError(
            f"complete: a masked model fills blanks, and there is none; write {BLANK} where a word is missing"
        )
    best = mask_probabilities(encoder, head, known, ids, places).topk(min(top, int((~known.special).sum())), dim=1)
    blanks = [
        [Candidate(_word(encoder.decode([token])), chance) for token, chance in zip(row, of_row, strict=True)]
        for row, of_row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    for place, row in zip(places, best.indices.tolist(), strict=True):
        ids[place] = row[0]
    return Completion("masked", encoder.decode(ids).strip(), blanks)


def _word(written: str) -> str:
    """Return a token as it is named: without white space around it, unless it is nothing else."""
    return written.strip() or written


def _continued(
    encoder: PredictsTokens,
    head: Any,
    known: KnownTokens,
    text: str,
    tokens: int,
    temperature: float,
    generator: torch.Generator | None,
) -> Completion:
    ids = beginning_ids(encoder, known, text)
    longest = max_length_of(encoder)
    if longest is not None and len(ids) >= longest:
        raise InputError(f"complete: the text has as many tokens as the model reads ({longest}); give a shorter one")
    first = len(ids)
    ids, ended = generated(encoder, head, known, ids, tokens, temperature, generator)
    begun = encoder.decode(ids[:first])
    return Completion("causal", written := encoder.decode(ids), continuation=written[len(begun) :], ended=ended)
