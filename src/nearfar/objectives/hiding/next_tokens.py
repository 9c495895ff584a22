"""The next token of each place in some texts, and the end behind the last."""

from __future__ import annotations

import torch
from torch import Tensor


def next_tokens(ids: Tensor, lengths: Tensor, end: int | None, longest: int | None) -> tuple[Tensor, Tensor]:
    """Return the places (h,) among all tokens (t,) of n texts behind which a token is predicted, and those tokens (h,).

    end, longest: see `ending`. lengths (n,).
    """
    last = lengths.cumsum(0) - 1  # (n,)
    following = torch.cat([ids[1:], ids[:1]])  # (t,)
    has_next = torch.ones_like(ids, dtype=torch.bool)
    if end is not None:
        following = following.index_fill(0, last, end)
    has_next[last] = ending(ids[last], lengths, end, longest)
    places = torch.nonzero(has_next)[:, 0]
    return places, following[places]


def ending(last: Tensor, lengths: Tensor, end: int | None, longest: int | None) -> Tensor:
    """Return behind which of n texts their end is predicted, (n,) booleans, from their last tokens (n,) and lengths.

    end: the token that is predicted there, unless it is the last one already, or the text has as many tokens as are
    read of one (`longest`), as it may go on; None predicts nothing there.
    """
    if end is None:
        return torch.zeros_like(last, dtype=torch.bool)
    return (last != end) & (lengths < longest if longest is not None else torch.ones_like(last, dtype=torch.bool))
