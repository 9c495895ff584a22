"""A hidden token predicted from its two neighbours, by counts: the floor of masked language modelling.

The answer is the most frequent token of the narrowest context that was seen. Its probability is interpolated, as Witten
and Bell (1991) do it for n-grams, from wide contexts x' to narrow ones x:

    p(w | x) = (c(x, w) + t(x) p(w | x')) / (c(x) + t(x)),    t(x): the number of distinct tokens that were seen in x

between two neighbours over the mean of p(w | left) and p(w | right), and these over the frequencies of single tokens,
each counted once more. A context that was never seen says nothing: its p is that of x'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.evaluation.floors.language.documents import flat_documents
from nearfar.evaluation.floors.language.segments import largest

Places = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Contexts:
    """What was seen in each of c contexts, ascending: how many tokens, how many distinct ones, and the most frequent.

    pairs (e,): context * width + token, ascending, and how often each was seen.
    """

    width: int
    contexts: Ids
    totals: Ids
    distinct: Ids
    most: Ids
    pairs: Ids
    counts: Ids

    @classmethod
    def of(cls, contexts: Ids, tokens: Ids, frequency: Ids) -> _Contexts:
        """Return it of t places: their contexts and tokens. frequency: of all tokens, which decides among equals."""
        width = len(frequency)
        pairs, counts = np.unique(contexts * width + tokens, return_counts=True)
        context, token = np.divmod(pairs, width)
        first = np.flatnonzero(np.diff(context, prepend=-1))  # where the tokens of a context begin
        most = largest(counts * (int(frequency.max()) + 1) + frequency[token], first)
        totals, distinct = np.add.reduceat(counts, first), np.diff(first, append=len(pairs))
        return cls(width, context[first], totals, distinct, token[most], pairs, counts)

    def find(self, contexts: Ids, known: Places) -> tuple[Ids, Places]:
        """Return the places of contexts (t,) among those that were seen, and which are known and were seen."""
        place = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return place, known & (self.contexts[place] == contexts)

    def answer(self, contexts: Ids, known: Places, otherwise: Ids) -> Ids:
        """Return the most frequent token of each context (t,), `otherwise` (t,) where there is none."""
        place, seen = self.find(contexts, known)
        return np.where(seen, self.most[place], otherwise)

    def interpolated(self, contexts: Ids, known: Places, tokens: Ids, wider: Values) -> Values:
        """Return the probabilities (t,) of tokens (t,) in their contexts, from those in the wider ones."""
        place, seen = self.find(contexts, known)
        wanted = contexts * self.width + tokens
        pair = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        count = np.where(self.pairs[pair] == wanted, self.counts[pair], 0)
        total, distinct = self.totals[place], self.distinct[place]
        return np.where(seen, (count + distinct * wider) / (total + distinct), wider)


@dataclass(frozen=True)
class NeighbourCounts:
    """The most frequent token between two neighbours, else after the left one, else before the right one, else of all.

    The begin and the end of a document are neighbours, too. Among equally frequent tokens it is the one that is more
    frequent everywhere, then the one of the smaller id. A neighbour that is hidden, too, says nothing.

    unigram (vocabulary,): probabilities of single tokens. frequent: the most frequent one.
    """

    vocabulary: int
    unigram: Values
    frequent: int
    between: _Contexts
    after: _Contexts
    before: _Contexts

    @classmethod
    def fit(cls, documents: Sequence[Ids], vocabulary: int, special: Places | None = None) -> NeighbourCounts:
        """Return the counts of some documents: token ids (t,) each. special (vocabulary,): tokens never predicted.

        Errors: `InputError`: no token at all that may be predicted; ids that are no tokens, by document.
        """
        flat = np.append(flat_documents(documents, vocabulary, "neighbours"), vocabulary)
        ordinary = np.append(np.ones(vocabulary, np.bool_) if special is None else ~special, False)
        places = np.flatnonzero(ordinary[flat])
        if not len(places):
            raise InputError("neighbours: there is no token to count; give documents that are not empty")
        left, token, right = flat[places - 1], flat[places], flat[places + 1]
        frequency = np.bincount(token, minlength=vocabulary + 1)
        smoothed = np.where(ordinary, frequency + 1.0, 0.0)[:vocabulary]
        contexts = (left * (vocabulary + 1) + right, left, right)
        seen = (_Contexts.of(context, token, frequency) for context in contexts)
        return cls(vocabulary, smoothed / smoothed.sum(), int(frequency.argmax()), *seen)

    def predict(self, documents: Sequence[Ids], hidden: Sequence[Places]) -> tuple[Values, Ids]:
        """Return of the hidden tokens of all documents their natural log-probabilities (h,), and the answers (h,).

        hidden: (t,) for each document, which of its tokens are hidden: no answer reads what they are.

        Errors: `InputError`: ids that are no tokens; another number of places than tokens.
        """
        if len(documents) != len(hidden):
            raise InputError(f"neighbours: {len(documents)} documents have {len(hidden)} lists of hidden places")
        for row, (document, each) in enumerate(zip(documents, hidden, strict=True)):
            if np.shape(each) != np.shape(document):
                raise InputError(
                    f"neighbours: document {row} has {len(document)} tokens and {len(each)} places; give one for each"
                )
        flat = np.append(flat_documents(documents, self.vocabulary, "neighbours"), self.vocabulary)
        is_hidden = np.zeros(len(flat), np.bool_)
        is_hidden[flat < self.vocabulary] = np.concatenate([np.zeros(0, np.bool_), *hidden])
        places = np.flatnonzero(is_hidden)
        left, token, right = flat[places - 1], flat[places], flat[places + 1]
        sees_left, sees_right = ~is_hidden[places - 1], ~is_hidden[places + 1]
        between, sees_both = left * (self.vocabulary + 1) + right, sees_left & sees_right
        answer = self.before.answer(right, sees_right, np.full(len(places), self.frequent))
        answer = self.after.answer(left, sees_left, answer)
        answer = self.between.answer(between, sees_both, answer)
        single = self.unigram[token]
        by_left = self.after.interpolated(left, sees_left, token, single)
        by_right = self.before.interpolated(right, sees_right, token, single)
        both = np.select([sees_both, sees_left], [(by_left + by_right) / 2, by_left], by_right)
        with np.errstate(divide="ignore"):  # special tokens have no probability
            return np.log(self.between.interpolated(between, sees_both, token, both)), answer
