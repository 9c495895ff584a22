"""What the two neighbours of a hidden token say of it, by counts: the floor of masked language modelling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.evaluation.floors.language.documents import flat_documents


@dataclass(frozen=True)
class _Most:
    """The most frequent token of each context. contexts (c,): ascending; tokens (c,)."""

    contexts: Ids
    tokens: Ids

    @classmethod
    def of(cls, contexts: Ids, tokens: Ids, counts: Ids) -> _Most:
        """Return it of t places: their contexts and tokens. counts: of all tokens, which decide among equals."""
        width = len(counts)
        pairs, number = np.unique(contexts * width + tokens, return_counts=True)
        context, token = pairs // width, pairs % width
        order = np.lexsort((-token, counts[token], number, context))  # the last of a context is its best
        context, token = context[order], token[order]
        last = np.flatnonzero(np.append(context[1:] != context[:-1], True))
        return cls(context[last], token[last])

    def __call__(self, contexts: Ids, known: npt.NDArray[np.bool_], otherwise: Ids) -> Ids:
        """Return the token of each context (t,), `otherwise` (t,) where it is not known or was never seen."""
        place = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return np.where(known & (self.contexts[place] == contexts), self.tokens[place], otherwise)


@dataclass(frozen=True)
class NeighbourCounts:
    """The most frequent token between two neighbours, else after the left one, else before the right one, else of all.

    The begin and the end of a document are neighbours, too. Among equally frequent tokens it is the one that is more
    frequent everywhere, then the one of the smaller id. A neighbour that is hidden, too, says nothing.

    unigram: the most frequent token of all.
    """

    vocabulary: int
    unigram: int
    between: _Most
    after: _Most
    before: _Most

    @classmethod
    def fit(cls, documents: Sequence[Ids], vocabulary: int) -> NeighbourCounts:
        """Return the counts of some documents: token ids (t,) each.

        Errors: `InputError`: no token at all; ids that are no tokens, by document.
        """
        flat = np.append(flat_documents(documents, vocabulary, "neighbours"), vocabulary)
        places = np.flatnonzero(flat < vocabulary)
        if not len(places):
            raise InputError("neighbours: there is no token to count; give documents that are not empty")
        left, token, right = flat[places - 1], flat[places], flat[places + 1]
        counts = np.bincount(token, minlength=vocabulary + 1)
        contexts = (left * (vocabulary + 1) + right, left, right)
        return cls(vocabulary, int(counts.argmax()), *(_Most.of(context, token, counts) for context in contexts))

    def predict(self, documents: Sequence[Ids], hidden: Sequence[npt.NDArray[np.bool_]]) -> list[Ids]:
        """Return for each document the tokens that are expected at its hidden places, in order.

        hidden: (t,) for each document, which of its tokens are hidden: what they are is not read.

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
        left, right = flat[places - 1], flat[places + 1]
        sees_left, sees_right = ~is_hidden[places - 1], ~is_hidden[places + 1]
        found = self.before(right, sees_right, np.full(len(places), self.unigram))
        found = self.after(left, sees_left, found)
        found = self.between(left * (self.vocabulary + 1) + right, sees_left & sees_right, found)
        ends = np.cumsum([int(np.sum(each)) for each in hidden])[:-1]
        return np.split(found, ends) if len(documents) else []
