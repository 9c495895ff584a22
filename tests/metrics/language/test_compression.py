"""Bits per byte and perplexity, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.metrics.language.compression import bits_per_byte, perplexity


def test_bits_per_byte_by_hand() -> None:
    """Tokens of 1, 2 and 5 bits: 8 bits over 4 bytes, as é has two."""
    log_probabilities = [np.log([1 / 2, 1 / 4]), np.log([1 / 32])]
    assert bits_per_byte(log_probabilities, ["né", "x"]) == pytest.approx(2)
    assert perplexity(log_probabilities) == pytest.approx(2 ** (8 / 3))


def test_a_uniform_guess_of_bytes_is_eight_bits() -> None:
    text = "any text, äöü and 日本語"
    tokens = [np.full(len(text.encode()), -math.log(256))]
    assert bits_per_byte(tokens, [text]) == pytest.approx(8)
    assert perplexity(tokens) == pytest.approx(256)


def test_an_end_token_costs_bits_and_has_no_byte() -> None:
    assert bits_per_byte([np.log([1 / 2, 1 / 2])], ["a"]) == pytest.approx(2)
    assert bits_per_byte([np.log([1 / 2]), np.log([1 / 2])], ["a", ""]) == pytest.approx(2)


def test_what_has_no_figure_is_named() -> None:
    one = [np.log([0.5])]
    with pytest.raises(InputError, match="2 texts have 1 lists"):
        bits_per_byte(one, ["a", "b"])
    with pytest.raises(InputError, match="text 1 has no token"):
        bits_per_byte([*one, np.empty(0)], ["a", "b"])
    with pytest.raises(InputError, match="no byte"):
        bits_per_byte(one, [""])
    with pytest.raises(InputError, match="token 0 of text 1 has the log-probability nan"):
        bits_per_byte([*one, np.array([np.nan])], ["a", "b"])
    with pytest.raises(InputError, match=r"token 1 of text 0 has the log-probability 0\.5"):
        perplexity([np.array([-1, 0.5])])
    with pytest.raises(InputError, match="no token"):
        perplexity([])
