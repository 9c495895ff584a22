"""Counts of both neighbours: equal to plain counting, with the backing off that is said."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.evaluation.floors.language.neighbours import NeighbourCounts

EDGE = -1


class Naive:
    """The equations, one token at a time."""

    def __init__(self, documents: Sequence[Ids], vocabulary: int, special: Sequence[int]) -> None:
        self.tokens = [token for token in range(vocabulary) if token not in special]
        self.seen: dict[Any, Counter[int]] = defaultdict(Counter)
        for document in documents:
            ids = [EDGE, *document.tolist(), EDGE]
            for left, token, right in zip(ids, ids[1:], ids[2:], strict=False):
                for context in ((left, right), ("left", left), ("right", right), "all"):
                    if token not in special:
                        self.seen[context][token] += 1

    def answer(self, left: int | None, right: int | None) -> int:
        contexts = [(left, right), ("left", left), ("right", right), "all"]
        counts = self.seen[next(context for context in contexts if context in self.seen)]
        return min(counts, key=lambda token: (-counts[token], -self.seen["all"][token], token))

    def p(self, token: int, left: int | None, right: int | None) -> float:
        whole = self.seen["all"]
        single = (whole[token] + 1) / (whole.total() + len(self.tokens))
        sides = [(side, near) for side, near in (("left", left), ("right", right)) if near is not None]
        wider = [self._over(one, token, single) for one in sides]
        mean = sum(wider) / len(wider) if wider else single
        return self._over((left, right), token, mean)

    def _over(self, context: Any, token: int, wider: float) -> float:
        if context not in self.seen:
            return wider
        counts = self.seen[context]
        return (counts[token] + len(counts) * wider) / (counts.total() + len(counts))


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(2, 6), st.integers(1, 12))
def test_it_is_plain_counting(seed: int, vocabulary: int, length: int) -> None:
    generator = np.random.default_rng(seed)
    training, judged = ([generator.integers(0, vocabulary, length) for _ in range(8)] for _ in range(2))
    hidden = [generator.random(length) < 0.4 for _ in judged]
    special = np.arange(vocabulary) == vocabulary - 1
    plain = Naive(training, vocabulary, [vocabulary - 1])
    assume("all" in plain.seen)
    found = NeighbourCounts.fit(training, vocabulary, special)
    values, answers = found.predict(judged, hidden)
    asked = []
    for document, places in zip(judged, hidden, strict=True):
        ids, covered = [EDGE, *document.tolist(), EDGE], [False, *places.tolist(), False]
        near = [None if hide else token for token, hide in zip(ids, covered, strict=True)]
        asked += [(ids[i], near[i - 1], near[i + 1]) for i in (np.flatnonzero(places) + 1).tolist()]
    assert answers.tolist() == [plain.answer(left, right) for _, left, right in asked]
    for value, (token, left, right) in zip(np.exp(values).tolist(), asked, strict=True):
        assert value == pytest.approx(0 if special[token] else plain.p(token, left, right), rel=1e-12)


@given(st.integers(0, 999))
def test_the_probabilities_of_a_place_add_up_to_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    special = np.arange(7) == 0
    model = NeighbourCounts.fit([generator.integers(0, 6, 20) for _ in range(4)], 7, special)  # token 6 is never seen
    for document, hidden in (([1, 0, 2], [1]), ([1, 0, 2], [0, 1]), ([1, 0, 2], [1, 2]), ([0], [0]), ([6, 0, 3], [1])):
        place = hidden[-1]
        documents = [np.array([*document[:place], token, *document[place + 1 :]]) for token in range(7)]
        values, _ = model.predict(documents, [np.isin(np.arange(len(document)), hidden)] * 7)
        chances = np.exp(values[len(hidden) - 1 :: len(hidden)])
        assert chances[0] == 0
        assert chances.sum() == pytest.approx(1, abs=1e-12)


def test_an_example() -> None:
    model = NeighbourCounts.fit([np.array([3, 1, 4]), np.array([3, 1, 4]), np.array([3, 2, 5]), np.array([2])], 6)
    documents = [np.array([3, 0, 4]), np.array([3, 0, 5]), np.array([3, 0, 3]), np.array([0, 0])]
    hidden = [np.array([False, True, False])] * 3 + [np.array([True, True])]
    assert model.predict(documents, hidden)[1].tolist() == [1, 2, 1, 3, 4]
    assert model.frequent == 3


def test_what_is_hidden_is_not_read() -> None:
    generator = np.random.default_rng(1)
    document, hidden = generator.integers(0, 5, 50), generator.random(50) < 0.5
    model = NeighbourCounts.fit([generator.integers(0, 5, 200)], 5)
    other = np.where(hidden, 4 - document, document)
    first, second = (model.predict([each], [hidden])[1] for each in (document, other))
    assert len(first) > 10
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_counted_is_named() -> None:
    model = NeighbourCounts.fit([np.array([0, 1])], 2)
    with pytest.raises(InputError, match="no token to count"):
        NeighbourCounts.fit([], 2)
    with pytest.raises(InputError, match=re.escape("token 0 of document 0 is 7")):
        model.predict([np.array([7])], [np.array([True])])
    with pytest.raises(InputError, match="document 1 has 2 tokens and 1 places"):
        model.predict([np.array([0]), np.array([0, 1])], [np.array([True]), np.array([True])])
    with pytest.raises(InputError, match="2 documents have 1 lists"):
        model.predict([np.array([0]), np.array([0, 1])], [np.array([True])])
    assert [len(each) for each in model.predict([], [])] == [0, 0]
    with pytest.raises(InputError, match="no token to count"):
        NeighbourCounts.fit([np.array([0, 1])], 2, np.array([True, True]))
