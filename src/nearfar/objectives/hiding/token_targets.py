"""The tokens that an objective predicts: where they stand, what they are, and their cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nearfar.abilities import PredictsTokens
from nearfar.contracts import Terms
from nearfar.errors import InputError
from nearfar.losses.tiled.token_cross_entropy import token_cross_entropy


@dataclass(frozen=True)
class TokenTargets:
    """What is predicted at some places (h,) among all tokens of some texts: tokens (h,).

    Of masked texts these are the tokens that stood there, of a causal model the ones that follow.
    """

    places: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class ReconstructionTargets:
    """What RetroMAE's encoder predicts of some texts, and what its decoder does, which reads `decoder_ids` (t,)."""

    encoder: TokenTargets
    decoder_ids: Tensor
    decoder: TokenTargets


def refuse_no_tokens(encoder: Any, objective: str) -> None:
    """Refuse an encoder from whose states no tokens can be predicted. Errors: `InputError`, naming both."""
    if not isinstance(encoder, PredictsTokens):
        raise InputError(
            f"objective {objective}: the encoder {type(encoder).__name__} predicts no tokens; take "
            "encoder.name=transformer"
        )


def summed_cross_entropy(head: Any, states: Tensor, tokens: Tensor) -> Tensor:
    """Return the summed cross-entropy of tokens (h,), predicted by a language head from states (h, width)."""
    return token_cross_entropy(head(states), head.weight, tokens, head.bias)


def token_terms(encoder: PredictsTokens, head: Any, inputs: Any, targets: TokenTargets) -> Terms:
    """Return the summed cross-entropy of the target tokens of some texts, and their number."""
    states = encoder.states_at(inputs, targets.places)  # (h, width)
    if not len(states):
        return Terms(states.sum(), 0)
    return Terms(summed_cross_entropy(head, states, targets.tokens), len(states))
