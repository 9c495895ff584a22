"""The next token of each place in some texts, and the end behind the last."""

from __future__ import annotations

import torch
from torch import Tensor


def next_tokens(ids: Tensor, lengths: Tensor, end: int | None, longest: int | None) -> tuple[Tensor, Tensor]:
    """Return the places (h,) among all tokens (t,) of n texts behind which a token is predicted, and those tokens (h,).

    end: the token that is predicted behind the last one of a text, unless that is it already, or the text has as many
    tokens as are read of one (`longest`), as it may go on; None predicts nothing there. lengths (n,).
    """
    last = lengths.cumsum(0) - 1  # (n,)
    following = torch.cat([ids[1:], ids[:1]])  # (t,)
    has_next = torch.ones_like(ids, dtype=torch.bool)
    ends = torch.zeros_like(last, dtype=torch.bool)
    if end is not None:
        ends = (ids[last] != end) & (lengths < longest if longest is not None else torch.ones_like(ends))
        following = following.index_fill(0, last, end)
    has_next[last] = ends
    places = torch.nonzero(has_next)[:, 0]
    return places, following[places]
