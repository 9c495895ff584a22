"""What the objectives over tokens share: an encoder that predicts them, and the cross-entropy of those to be told."""

from __future__ import annotations

from typing import Any

from nearfar.abilities import PredictsTokens
from nearfar.contracts import Terms
from nearfar.errors import InputError
from nearfar.losses.tiled.token_cross_entropy import token_cross_entropy
from nearfar.objectives.hiding.masking import HiddenTargets


def refuse_no_tokens(encoder: Any, objective: str) -> None:
    """Refuse an encoder from whose states no tokens can be predicted. Errors: `InputError`, naming both."""
    if not isinstance(encoder, PredictsTokens):
        raise InputError(
            f"objective {objective}: the encoder {type(encoder).__name__} predicts no tokens; take "
            "encoder.name=transformer"
        )


def cross_entropy_of(encoder: PredictsTokens, head: Any, inputs: Any, targets: HiddenTargets) -> Terms:
    """Return the summed cross-entropy of the tokens that are to be told of some texts, and their number."""
    states = encoder.states_at(inputs, targets.places)  # (h, width)
    if not len(states):
        return Terms(states.sum(), 0)
    x = head(states)  # (h, d)
    return Terms(token_cross_entropy(x, head.weight, targets.tokens, head.bias), len(states))
