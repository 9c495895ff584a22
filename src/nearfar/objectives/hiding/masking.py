"""Masking: which tokens of a text may be hidden, what stands in their place, and what stood there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.abilities import KnownTokens
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.objectives.hiding.choose import chosen_tokens, positions
from nearfar.objectives.hiding.token_targets import TokenTargets

CHOICE, KIND, REPLACEMENT, LANES = 0, 1, 2, 3  # lanes of the draws: which tokens, what becomes of each, another token


class Masking(nn.Module):
    """Hides a share of each text's tokens: most become the mask, some another token, some stay as they are.

    share, random, kept, whole_words: see `masked_language`. name: what a recipe calls the share, for errors. The
    tables of tokens are buffers that are not saved.

    Errors: `InputError`: shares out of range; no mask token; `whole_words` of tokens that do not say where words begin.
    """

    special: Tensor  # (v,) booleans; these tokens are never hidden, and never put in the place of others
    ordinary: Tensor  # the ids of all others
    continues: Tensor | None  # (v,) booleans, for whole words

    def __init__(self, share: float, random: float, kept: float, *, whole_words: bool, name: str = "share") -> None:
        super().__init__()
        if not 0 < share < 1:
            raise InputError(f"objective.{name} must be above 0 and below 1, it is {share:g}; 0.15 to 0.5 is usual")
        if not (random >= 0 and kept >= 0 and random + kept <= 1):
            raise InputError(
                f"objective: random ({random:g}) and kept ({kept:g}) are shares of the hidden tokens: give 0 or more, "
                "and together at most 1"
            )
        self.share, self.random, self.kept, self.whole_words = share, random, kept, whole_words
        self.mask = -1
        for name in ("special", "ordinary", "continues"):
            self.register_buffer(name, None, persistent=False)

    def learn(self, known: KnownTokens) -> None:
        """Note what is known of the tokens. Errors: as above."""
        if known.mask is None:
            raise InputError(
                "objective: the tokenizer has no mask token; take the folder of a masked language model, or a new "
                "model (encoder.config)"
            )
        if self.whole_words and known.continues is None:
            raise InputError(
                "objective.whole_words: the tokenizer does not say where words begin; that of a new model does with "
                "encoder.keeps=words"
            )
        self.mask, self.special = known.mask, torch.from_numpy(known.special)
        self.ordinary = torch.nonzero(~self.special)[:, 0]
        if not len(self.ordinary):
            raise InputError("objective: every token of the tokenizer is special, so there is none to hide")
        self.continues = torch.from_numpy(known.continues) if self.whole_words and known.continues is not None else None

    def hide(self, inputs: Any, draws: Draws, first_lane: int = 0) -> tuple[Any, TokenTargets]:
        """Return texts as tokens with some of them hidden, and what was hidden. first_lane: of three of the draws."""
        ids: Tensor = inputs.ids  # (t,)
        lengths = torch.from_numpy(inputs.costs()).to(ids.device)  # (n,)
        continues = None if self.continues is None else self.continues[ids]
        chosen = chosen_tokens(lengths, ~self.special[ids], self.share, draws, continues, first_lane + CHOICE)
        text, position = positions(lengths)
        longest = int(lengths.max()) if len(lengths) else 0
        places = torch.nonzero(chosen)[:, 0]  # (h,)
        at = text[places], position[places]
        kind = draws.uniform(longest, lane=first_lane + KIND)[at]  # (h,)
        other = self.ordinary[draws.integers(longest, len(self.ordinary), lane=first_lane + REPLACEMENT)[at]]
        masked = torch.where(kind < 1 - self.random - self.kept, torch.full_like(other, self.mask), other)
        new = torch.where(kind < 1 - self.kept, masked, ids[places])
        return replace(inputs, ids=ids.index_put((places,), new)), TokenTargets(places, ids[places])
