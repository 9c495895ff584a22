"""Interpolated modified Kneser-Ney smoothing: what n-grams of tokens predict.

    p(w | h) = (a(hw) - D(a(hw))) / A(h) + g(h) p(w | h'),    A(h) = sum_w a(hw),    g(h) = sum_w D(a(hw)) / A(h)

where h' is h without its first token, and D has three values for each order: for counts of 1, of 2, and of more (Chen
and Goodman 1998, "An empirical study of smoothing techniques for language modeling", equations 26 and 27). At the
highest order, and for n-grams at the begin of a document, a is the count; elsewhere it is the number of distinct
tokens before the n-gram, the begin of a document among them. Below single tokens all tokens are equally likely, so a
token that was not seen has its share, and the probabilities of the vocabulary add up to one after every history.
(The same conventions as KenLM: Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation".)

An n-gram is found by the number of its history among the (n-1)-grams, and its last token: two numbers in 64 bits, in
one sorted array for each order. The most probable token after a history h was seen there, or else is that after h', as
g(h) is the same for all tokens that were not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.evaluation.floors.language.documents import flat_documents
from nearfar.evaluation.floors.language.segments import largest

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts give none, in tiny data; KenLM's


@dataclass(frozen=True)
class _Counted:
    """The n-grams of one order as they were counted (e,), in the order of their keys; see `_Order`.

    counts: a of each. suffix: the number of each among the (n-1)-grams, without its first token.
    """

    keys: Ids
    counts: Ids
    suffix: Ids


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order n, and what is known of their histories, by the number among the (n-1)-grams.

    keys (e,): the history and, in as many bits as the vocabulary needs, the last token; ascending. probability (e,):
    p(last token | history). left: g of each history; 1 where nothing follows it. best, highest: the most probable token
    after each history, and its probability; of equal ones that were seen the one of the smaller id.
    """

    keys: Ids
    probability: Values
    left: Values
    best: npt.NDArray[np.int32]
    highest: Values

    @classmethod
    def uniform(cls, vocabulary: int) -> _Order:
        """Return what lies below single tokens: one history, after which all tokens are equally likely."""
        each = np.array([1 / vocabulary])
        return cls(np.zeros(1, np.int64), each, np.ones(1), np.zeros(1, np.int32), each)

    @classmethod
    def of(
        cls, counted: _Counted, discounts: tuple[float, float, float], suffix: Ids, bits: int, below: _Order
    ) -> _Order:
        """Return the n-grams over those of the order below. suffix: of each history, without its first token."""
        history, token = counted.keys >> bits, counted.keys & ((1 << bits) - 1)
        share, left = _shares(history, counted.counts, discounts, len(suffix))
        probability = share + left[history] * below.probability[counted.suffix]
        best, highest = below.best[suffix], left * below.highest[suffix]
        first = np.flatnonzero(np.diff(history, prepend=-1))  # where the n-grams of a history begin
        most = largest(probability, first)
        most = most[probability[most] >= highest[history[most]]]
        best[history[most]], highest[history[most]] = token[most], probability[most]
        return cls(counted.keys, probability, left, best, highest)

    def find(self, history: Ids, token: Ids, bits: int) -> Ids:
        """Return the numbers of n-grams (t,); -1 where there is none, as after a history of -1."""
        wanted = np.where(history < 0, -1, history << bits | token)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place, -1)


@dataclass(frozen=True)
class KneserNey:
    """An n-gram model of documents of token ids; of order 1 it is the smoothed unigram model.

    vocabulary: the number of tokens. orders: from 1 to the highest that occurs. discounts: those of counts of 1, of 2
    and of more, by order from 1.
    """

    vocabulary: int
    orders: list[_Order]
    discounts: list[tuple[float, float, float]]

    @classmethod
    def fit(cls, documents: Sequence[Ids], vocabulary: int, order: int = 5) -> KneserNey:
        """Return the model of some documents.

        documents: token ids (t,) each. What a document begins with is predicted from the begin, as a token of its own
        that is never predicted; its end is predicted only if the documents hold an end token. vocabulary: the number of
        tokens, seen or not.

        Errors: `InputError`: no token at all; ids that are no tokens, by document; an order below 1.
        """
        if order < 1:
            raise InputError(f"kneser-ney: the order must be at least 1, it is {order}")
        flat = flat_documents(documents, vocabulary, "kneser-ney")
        if not (flat < vocabulary).any():
            raise InputError("kneser-ney: there is no token to count; give documents that are not empty")
        counted = _count(flat, vocabulary, order)
        discounts = [_discounts(each.counts) for each in counted]
        below, suffix, orders = _Order.uniform(vocabulary), np.zeros(1, np.int64), []
        for one, each in zip(counted, discounts, strict=True):
            if not len(one.keys):  # all documents are shorter
                break
            below, suffix = _Order.of(one, each, suffix, vocabulary.bit_length(), below), one.suffix
            orders.append(below)
        return cls(vocabulary, orders, discounts)

    @property
    def unigram(self) -> Values:
        """The probabilities of single tokens (vocabulary,)."""
        return self.orders[0].probability[: self.vocabulary]

    def predict(self, documents: Sequence[Ids]) -> tuple[Values, Ids]:
        """Return of the tokens of all documents, given those before each in its document, (t,) each:

        their natural log-probabilities, and which token is the most probable one in the place of each.

        Errors: `InputError`: ids that are no tokens, by document.
        """
        flat = flat_documents(documents, self.vocabulary, "kneser-ney")
        is_token = flat < self.vocabulary
        lowest, *higher = self.orders
        p, best = lowest.probability[flat], np.full(len(flat), lowest.best[0])  # the begin's are left out at the end
        number = flat  # of the n-gram that ends here
        for order in higher:
            history = np.where(is_token, np.append(-1, number[:-1])[: len(flat)], -1)
            found = order.find(history, flat, self.vocabulary.bit_length())
            lower = np.where(history < 0, 1.0, order.left[history]) * p
            p = np.where(found < 0, lower, order.probability[found])
            best = np.where(history < 0, best, order.best[history])
            number = found
        return np.log(p[is_token]), best[is_token].astype(np.int64)

    def log_probabilities(self, documents: Sequence[Ids]) -> list[Values]:
        """Return the natural log-probability of each token given those before it in its document, (t,) for each.

        Errors: `InputError`: ids that are no tokens, by document.
        """
        ends = np.cumsum([len(document) for document in documents])[:-1]
        return np.split(self.predict(documents)[0], ends) if len(documents) else []

    @property
    def about(self) -> dict[str, Any]:
        """Facts for the protocol."""
        return {
            "name": "modified Kneser-Ney",
            "order": len(self.discounts),
            "discounts": [[round(d, 4) for d in each] for each in self.discounts],
            "n-grams": [self.vocabulary, *(len(order.keys) for order in self.orders[1:])],
        }


def _count(flat: Ids, vocabulary: int, order: int) -> list[_Counted]:
    """Return the n-grams of each order; those of order 1 are the tokens and the begin."""
    width, bits = vocabulary + 1, vocabulary.bit_length()
    raw = np.bincount(flat, minlength=width)
    raw[vocabulary] = 0  # the begin is never predicted
    keys, suffix, at_begin, number = np.arange(width), np.zeros(width, np.int64), np.zeros(width, np.bool_), flat
    counted: list[_Counted] = []
    for n in range(2, order + 1):
        ends = np.flatnonzero((number[:-1] >= 0) & (flat[1:] < vocabulary)) + 1  # where an n-gram ends
        grams = number[ends - 1] << bits | flat[ends]
        ordered, order_of = _in_order(grams)
        is_new = np.append(True, ordered[1:] != ordered[:-1])[: len(grams)]
        starts = np.flatnonzero(is_new)
        longer, counts, places = ordered[starts], np.diff(starts, append=len(grams)), ends[order_of[starts]]
        shorter = number[places]  # each without its first token
        before = np.bincount(shorter, minlength=len(keys))  # distinct tokens before the (n-1)-grams
        counted.append(_Counted(keys, np.where(at_begin, raw, before), suffix))
        keys, suffix, raw, at_begin = longer, shorter, counts, flat[places - n + 1] == vocabulary
        number = np.full(len(flat), -1, np.int64)
        number[ends[order_of]] = np.cumsum(is_new) - 1
    return [*counted, _Counted(keys, raw, suffix)]


def _in_order(grams: Ids) -> tuple[Ids, Ids]:
    """Return numbers (t,) in ascending order, and the place of each.

    Where both fit 63 bits they are sorted as one number, which is ten times as fast as `argsort`.
    """
    bits = len(grams).bit_length()
    if int(grams.max(initial=0)).bit_length() + bits > 63:
        places = np.argsort(grams)
        return grams[places], places
    both = np.sort(grams << bits | np.arange(len(grams)))
    return both >> bits, both & ((1 << bits) - 1)


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """Return the discounts of counts 1, 2 and more, from the numbers of n-grams that have each count.

    None is 0, which would leave nothing for what was not seen.
    """
    _, *n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].tolist()
    if not all(n[:3]):
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    one, two, more = (k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
    return (one, two, more) if 0 < one <= 1 and 0 < two <= 2 and 0 < more <= 3 else FALLBACK


def _shares(
    history: Ids, counts: Ids, discounts: tuple[float, float, float], histories: int
) -> tuple[Values, npt.NDArray[np.float64]]:
    """Return the share of each n-gram (e,), and what is left of each history, 1 where nothing follows."""
    discount = np.array([0.0, *discounts])[np.minimum(counts, 3)]  # (e,)
    total, left = (np.bincount(history, x, histories).astype(np.float64) for x in (counts, discount))
    some = total > 0
    np.divide(left, total, out=left, where=some)
    left[~some] = 1.0
    share = (counts - discount) / np.where(some, total, 1.0)[history]
    return share, left
