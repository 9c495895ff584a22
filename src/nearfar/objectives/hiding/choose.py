"""Which tokens of each text are hidden: an exact share of them, by tokens or by whole words, drawn for each text."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.compute.draws import Draws


def positions(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the text of each of the t tokens of n texts, and its position within that text, (t,) each.

    lengths (n,): tokens of each text.
    """
    text = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)  # (t,)
    begins = lengths.cumsum(0) - lengths  # (n,)
    return text, torch.arange(len(text), device=lengths.device) - begins[text]


def chosen_tokens(
    lengths: Tensor, eligible: Tensor, share: float, draws: Draws, continues: Tensor | None = None, lane: int = 0
) -> Tensor:
    """Return which tokens (t,) of n texts are hidden: of each text's r eligible ones max(1, round(share r)).

    They are the first ones in a random order of the units, which are tokens, or words where `continues` is given: a
    word is an eligible token and those after it that continue it. A word that would exceed the number is passed over,
    unless it is the first, and none of the others comes in its place, so that words of all lengths are alike.

    lengths (n,): tokens of each text. eligible, continues (t,): booleans. lane: of the draws, see `Draws`. What is
    hidden of a text depends on that text and its row of the draws alone.
    """
    n, device = len(lengths), eligible.device
    text, position = positions(lengths)  # (t,), (t,)
    longest = int(lengths.max()) if n else 0
    numbers = draws.bits(longest, lane)[text, position]  # (t,) a random number for each token
    tokens = torch.nonzero(eligible)[:, 0]  # (e,)
    if not len(tokens):
        return torch.zeros_like(eligible)
    begins = torch.ones_like(tokens, dtype=torch.bool)
    if continues is not None:  # not the first token of a text, nor one behind a special token
        begins[1:] = ~(continues[tokens[1:]] & (tokens[1:] == tokens[:-1] + 1) & (position[tokens[1:]] > 0))
    unit = begins.cumsum(0) - 1  # (e,) the unit of each eligible token
    first = tokens[begins]  # (u,) the first token of each unit
    size = torch.bincount(unit, minlength=len(first))  # (u,)
    count = torch.bincount(text[tokens], minlength=n)  # (n,) eligible tokens of each text
    most = (share * count.double()).round().long().clamp(min=1)  # (n,) as Python rounds
    order = numbers[first].argsort(stable=True)
    order = order[text[first][order].argsort(stable=True)]  # (u,) units by text, in each text at random
    of_text = text[first][order]
    upto = size[order].cumsum(0)
    before = upto - size[order]  # of all texts; those of earlier texts come off
    units = torch.bincount(text[first], minlength=n)  # (n,)
    start = (units.cumsum(0) - units)[of_text]  # (u,) the place in `order` of the text's first unit
    within = upto - before[start]  # (u,) tokens of the text up to this unit, with it
    is_first = torch.arange(len(order), device=device) == start
    taken = torch.zeros(len(first), dtype=torch.bool, device=device)
    taken[order] = is_first | (within <= most[of_text])
    hidden = torch.zeros_like(eligible)
    hidden[tokens] = taken[unit]
    return hidden
