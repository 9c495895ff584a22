"""Texts without what comes behind their first tokens, for whoever asks that no more of them is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nearfar.column import Ids

Lengths = Callable[[Sequence[str]], Ids]  # texts to their tokens (n,), with the special ones that each text has


def first_tokens(texts: Sequence[str], most: int, lengths: Lengths) -> list[str] | None:
    """Return each text, or its beginning of at most `most` tokens, without special ones, where it has more.

    A beginning ends at any character, so its last word may be cut; it has one visible character at least. lengths: may
    count no further than what a model reads. None where they tell nothing, as of texts that are filled up to a length.
    """
    found, special = list(texts), int(lengths([""])[0])
    counts = lengths(found)  # (n,)
    if (counts == special).all():
        return None
    rows = np.flatnonzero(counts > special + most).tolist()
    fits = {row: len(found[row]) - len(found[row].lstrip()) + 1 for row in rows}  # characters that are kept, so far
    over = {row: len(found[row]) for row in rows}  # characters that are too many, so far
    while rows := [row for row in rows if over[row] - fits[row] > 1]:
        middles = [(fits[row] + over[row]) // 2 for row in rows]
        counts = lengths([texts[row][:middle] for row, middle in zip(rows, middles)])
        for row, middle, is_over in zip(rows, middles, counts > special + most):
            (over if is_over else fits)[row] = middle
    return [texts[row][: fits[row]] if row in fits else text for row, text in enumerate(found)]
