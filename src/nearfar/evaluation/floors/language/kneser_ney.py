"""Interpolated modified Kneser-Ney smoothing: what n-grams of tokens predict.

    p(w | h) = (a(hw) - D(a(hw))) / A(h) + g(h) p(w | h'),    A(h) = sum_w a(hw),    g(h) = sum_w D(a(hw)) / A(h)

where h' is h without its first token, and D has three values for each order: for counts of 1, of 2, and of more (Chen
and Goodman 1998, "An empirical study of smoothing techniques for language modeling", equations 26 and 27). At the
highest order, and for n-grams at the begin of a document, a is the count; elsewhere it is the number of distinct
tokens before the n-gram, the begin of a document among them. Below single tokens all tokens are equally likely, so a
token that was not seen has its share, and the probabilities of the vocabulary add up to one after every history.
(The same conventions as KenLM: Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation".)

An n-gram is found by the number of its history among the (n-1)-grams, and its last token: two numbers in 64 bits, in
one sorted array for each order.
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

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts give none, in tiny data; KenLM's


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order n, above single tokens.

    keys (e,): history * (vocabulary + 1) + last token, ascending. share (e,): (a - D(a)) / A of each. left: g of each
    history, by its number among the (n-1)-grams; 1 where nothing follows it.
    """

    keys: Ids
    share: Values
    left: Values

    def find(self, history: Ids, token: Ids, width: int) -> Ids:
        """Return the numbers of n-grams (t,); -1 where there is none, as after a history of -1."""
        wanted = np.where(history < 0, -1, history * width + token)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place, -1)


@dataclass(frozen=True)
class KneserNey:
    """An n-gram model of documents of token ids; of order 1 it is the smoothed unigram model.

    vocabulary: the number of tokens. unigram (vocabulary,): probabilities. orders: from 2 to the highest that occurs.
    discounts: those of counts of 1, of 2 and of more, by order from 1.
    """

    vocabulary: int
    unigram: Values
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
        discounts = [_discounts(counts) for _, counts in counted]
        lowest, left = _shares(np.zeros(vocabulary + 1, np.int64), counted[0][1], discounts[0], 1)
        orders, before = [], vocabulary + 1
        for (keys, counts), each in zip(counted[1:], discounts[1:], strict=True):
            if not len(keys):  # all documents are shorter
                break
            orders.append(_Order(keys, *_shares(keys // (vocabulary + 1), counts, each, before)))
            before = len(keys)
        return cls(vocabulary, lowest[:vocabulary] + left[0] / vocabulary, orders, discounts)

    def log_probabilities(self, documents: Sequence[Ids]) -> list[Values]:
        """Return the natural log-probability of each token given those before it in its document, (t,) for each.

        Errors: `InputError`: ids that are no tokens, by document.
        """
        flat = flat_documents(documents, self.vocabulary, "kneser-ney")
        is_token = flat < self.vocabulary
        p = np.append(self.unigram, 1.0)[flat]  # the begin's 1 is left out at the end
        number = flat  # of the n-gram that ends here
        for order in self.orders:
            history = np.append(-1, number[:-1])[: len(flat)]
            found = order.find(np.where(is_token, history, -1), flat, self.vocabulary + 1)
            followed = np.where(history < 0, 1.0, order.left[history])
            p = np.where(is_token, followed * p + np.where(found < 0, 0.0, order.share[found]), p)
            number = found
        ends = np.cumsum([len(document) for document in documents])[:-1]
        return np.split(np.log(p[is_token]), ends) if len(documents) else []

    @property
    def about(self) -> dict[str, Any]:
        """Facts for the protocol."""
        return {
            "name": "modified Kneser-Ney",
            "order": len(self.discounts),
            "discounts": [[round(d, 4) for d in each] for each in self.discounts],
            "n-grams": [self.vocabulary, *(len(order.keys) for order in self.orders)],
        }


def _count(flat: Ids, vocabulary: int, order: int) -> list[tuple[Ids, Ids]]:
    """Return for each order the keys of its n-grams and a of each; of order 1 they are the tokens and the begin."""
    width = vocabulary + 1
    raw = np.bincount(flat, minlength=width)
    raw[vocabulary] = 0  # the begin is never predicted
    keys, at_begin, number = np.arange(width), np.zeros(width, np.bool_), flat
    counted: list[tuple[Ids, Ids]] = []
    for n in range(2, order + 1):
        ends = np.flatnonzero((number[:-1] >= 0) & (flat[1:] < vocabulary)) + 1  # where an n-gram ends
        longer, first, inverse, counts = np.unique(
            number[ends - 1] * width + flat[ends], return_index=True, return_inverse=True, return_counts=True
        )
        firsts = ends[first]  # where each distinct n-gram ends for the first time
        before = np.bincount(number[firsts], minlength=len(keys))  # distinct tokens before the (n-1)-grams
        counted.append((keys, np.where(at_begin, raw, before)))
        keys, raw, at_begin = longer, counts, flat[firsts - n + 1] == vocabulary
        number = np.full(len(flat), -1, np.int64)
        number[ends] = inverse
    return [*counted, (keys, raw)]


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """Return the discounts of counts 1, 2 and more, from the numbers of n-grams that have each count."""
    _, *n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].tolist()
    if not all(n[:3]):
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    one, two, more = (k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
    return (one, two, more) if 0 <= one <= 1 and 0 <= two <= 2 and 0 <= more <= 3 else FALLBACK


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
