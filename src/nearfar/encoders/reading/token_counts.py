"""Texts as counts of their tokens, from which the mean of their vectors is taken; torch is not needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_TOKENS = 65_535  # of a text: a token's count in it is stored in two bytes


def count_tokens(
    ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], vocabulary: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct tokens (t,) of each text, their counts in it (t,), and the texts' offsets (n + 1,)."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    pairs, counts = np.unique(text * vocabulary + ids, return_counts=True)  # (t,) text and token as one number
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.bincount(pairs // vocabulary, minlength=len(lengths)), out=offsets[1:])
    return (pairs % vocabulary).astype(np.int32), counts, offsets


def term_frequencies(
    counts: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return counts (t,) divided by the lengths (n,) of their texts, which have `sizes` (n,) distinct tokens."""
    weights: npt.NDArray[np.float32] = (counts / np.repeat(lengths, sizes)).astype(np.float32)
    return weights
