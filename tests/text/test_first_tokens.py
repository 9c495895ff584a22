"""Beginnings of texts by their tokens, against a look at every beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nearfar.text.first_tokens import first_tokens

TEXTS = ["a", "one two three four", "  one two", "onetwothree four", "x " * 500]


def by_pieces(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the numbers of tokens of at most three letters, and two special ones."""
    return np.array([2 + sum(-(-len(word) // 3) for word in text.split()) for text in texts], np.int64)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 10_000])
def test_a_text_is_cut_where_one_more_character_would_be_too_much(most: int) -> None:
    found = first_tokens(TEXTS, most, by_pieces)
    assert found is not None
    for text, kept in zip(TEXTS, found, strict=True):
        ends = [end for end in range(len(text) + 1) if by_pieces([text[:end]])[0] <= 2 + most]
        assert kept == text[: max(ends)]


def test_lengths_that_end_at_what_is_read_cut_nothing_behind_it() -> None:
    def read(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.minimum(by_pieces(texts), 6)

    assert first_tokens(TEXTS, 4, read) == TEXTS
    assert first_tokens(TEXTS, 3, read) == first_tokens(TEXTS, 3, by_pieces)


def test_lengths_that_are_all_one_tell_nothing() -> None:
    assert first_tokens(TEXTS, 1, lambda texts: np.full(len(texts), 64)) is None


def test_a_beginning_keeps_a_character_that_is_several_tokens() -> None:
    def by_bytes(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([len(text.strip().encode()) for text in texts], np.int64)

    assert first_tokens(["  \N{FOX FACE} runs"], 1, by_bytes) == ["  \N{FOX FACE}"]
