"""Counts of both neighbours: equal to plain counting, with the backing off that is said."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import InputError
from nearfar.evaluation.floors.language.neighbours import NeighbourCounts

EDGE = -1


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 12))
def test_it_is_plain_counting(seed: int, vocabulary: int, length: int) -> None:
    generator = np.random.default_rng(seed)
    training, judged = ([generator.integers(0, vocabulary, length) for _ in range(8)] for _ in range(2))
    hidden = [generator.random(length) < 0.4 for _ in judged]
    seen: dict[Any, Counter[int]] = defaultdict(Counter)
    for document in training:
        ids = [EDGE, *document.tolist(), EDGE]
        for left, token, right in zip(ids, ids[1:], ids[2:], strict=False):
            for context in ((left, right), ("left", left), ("right", right), "all"):
                seen[context][token] += 1

    def best(contexts: list[Any]) -> int:
        counts = seen[next(context for context in contexts if context in seen)]
        return min(counts, key=lambda token: (-counts[token], -seen["all"][token], token))

    found = NeighbourCounts.fit(training, vocabulary).predict(judged, hidden)
    for document, places, tokens in zip(judged, hidden, found, strict=True):
        ids, covered = [EDGE, *document.tolist(), EDGE], [False, *places.tolist(), False]
        expected = []
        for i in np.flatnonzero(places) + 1:
            contexts: list[Any] = [] if covered[i - 1] or covered[i + 1] else [(ids[i - 1], ids[i + 1])]
            contexts += [] if covered[i - 1] else [("left", ids[i - 1])]
            contexts += [] if covered[i + 1] else [("right", ids[i + 1])]
            expected.append(best([*contexts, "all"]))
        assert tokens.tolist() == expected


def test_an_example() -> None:
    model = NeighbourCounts.fit([np.array([3, 1, 4]), np.array([3, 1, 4]), np.array([3, 2, 5]), np.array([2])], 6)
    documents = [np.array([3, 0, 4]), np.array([3, 0, 5]), np.array([3, 0, 3]), np.array([0, 0])]
    hidden = [np.array([False, True, False])] * 3 + [np.array([True, True])]
    assert [each.tolist() for each in model.predict(documents, hidden)] == [[1], [2], [1], [3, 4]]
    assert model.unigram == 3


def test_what_is_hidden_is_not_read() -> None:
    generator = np.random.default_rng(1)
    document, hidden = generator.integers(0, 5, 50), generator.random(50) < 0.5
    model = NeighbourCounts.fit([generator.integers(0, 5, 200)], 5)
    other = np.where(hidden, 4 - document, document)
    first, second = (model.predict([each], [hidden])[0] for each in (document, other))
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
    assert model.predict([], []) == []
