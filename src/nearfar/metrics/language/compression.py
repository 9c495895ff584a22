"""Bits per byte and perplexity: how well the tokens of held-out texts were predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nearfar.contracts import Values
from nearfar.errors import InputError


def bits_per_byte(log_probabilities: Sequence[Values], texts: Sequence[str]) -> float:
    """Return -sum log2 p over the bytes of the texts in UTF-8: models of different vocabularies can be compared by it.

    log_probabilities: for each text the natural log-probabilities of all its tokens, (t,). texts: the texts themselves,
    as they are before a tokenizer changes them. The bits of an end token count where there are some; it has no byte, so
    a model that also predicts where texts end pays for that.

    Not to be used where the tokens leave out a part of the text (it was cut, or its unknown words are one token):
    what is not predicted costs nothing, and the figure is too good. For the same reason a text without tokens is an
    error unless it is empty.

    Errors: `InputError`: another number of texts; a text that has no tokens; no byte at all; a log-probability that is
    not finite or above 0, by text.
    """
    if len(log_probabilities) != len(texts):
        raise InputError(f"bits per byte: {len(texts)} texts have {len(log_probabilities)} lists of log-probabilities")
    for row, (each, text) in enumerate(zip(log_probabilities, texts, strict=True)):
        if text and not len(each):
            raise InputError(f"bits per byte: text {row} has no token, so nothing predicts its {len(text)} characters")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if not size:
        raise InputError("bits per byte: the texts have no byte; give held-out texts")
    return -_total(log_probabilities, "bits per byte")[0] / math.log(2) / size


def perplexity(log_probabilities: Sequence[Values]) -> float:
    """Return exp of the mean of -log p over all tokens, by which only models of the same tokens can be compared.

    log_probabilities: for each text the natural log-probabilities of its tokens, (t,).

    Errors: `InputError`: no token; a log-probability that is not finite or above 0, by text.
    """
    total, count = _total(log_probabilities, "perplexity")
    if not count:
        raise InputError("perplexity: there is no token; give held-out texts")
    return math.exp(-total / count)


def _total(log_probabilities: Sequence[Values], name: str) -> tuple[float, int]:
    """Return the sum and the number of log-probabilities."""
    for row, each in enumerate(log_probabilities):
        wrong = np.flatnonzero(~(np.isfinite(each) & (np.asarray(each) <= 1e-6)))  # rounding may leave a little above 0
        if len(wrong):
            raise InputError(
                f"{name}: token {wrong[0]} of text {row} has the log-probability {each[wrong[0]]}; it must be finite "
                "and at most 0"
            )
    return math.fsum(float(np.sum(each, dtype=np.float64)) for each in log_probabilities), sum(
        len(each) for each in log_probabilities
    )
