"""Modified Kneser-Ney: equal to a plain one of dictionaries, to a peer, and to an example by hand."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.evaluation.floors.language import kneser_ney
from nearfar.evaluation.floors.language.kneser_ney import FALLBACK, KneserNey

BEGIN = -7
Gram = tuple[int, ...]


class Naive:
    """The equations, one n-gram at a time."""

    def __init__(self, documents: Sequence[Ids], vocabulary: int, order: int) -> None:
        self.vocabulary, self.order = vocabulary, order
        raw: Counter[Gram] = Counter()
        for document in documents:
            ids = [BEGIN, *document.tolist()]
            for n in range(1, order + 1):
                raw.update(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1) if ids[i + n - 1] != BEGIN)
        preceding: dict[Gram, set[int]] = defaultdict(set)
        for gram in raw:
            preceding[gram[1:]].add(gram[0])
        top = {gram: count for gram, count in raw.items() if len(gram) == order or gram[0] == BEGIN}
        self.a = top | {gram: len(preceding[gram]) for gram in raw if gram not in top}
        self.following: dict[Gram, list[int]] = defaultdict(list)
        for gram, count in self.a.items():
            self.following[gram[:-1]].append(count)
        self.discounts = [self._discounts(n) for n in range(1, order + 1)]

    def _discounts(self, n: int) -> tuple[float, float, float]:
        number = Counter(count for gram, count in self.a.items() if len(gram) == n)
        if not (number[1] and number[2] and number[3]):
            return FALLBACK
        y = number[1] / (number[1] + 2 * number[2])
        found = tuple(k - (k + 1) * y * number[k + 1] / number[k] for k in (1, 2, 3))
        return found if all(0 < d <= k for k, d in enumerate(found, 1)) else FALLBACK  # type: ignore[return-value]

    def p(self, history: Gram, token: int) -> float:
        history = history[max(0, len(history) - self.order + 1) :]
        lower = 1 / self.vocabulary if not history else self.p(history[1:], token)
        counts = self.following.get(history)
        if not counts:
            return lower
        discounts = self.discounts[len(history)]
        count, total = self.a.get((*history, token), 0), sum(counts)
        left = sum(discounts[min(each, 3) - 1] for each in counts)
        return (count - discounts[min(count, 3) - 1] if count else 0.0) / total + left / total * lower

    def log_probabilities(self, document: Ids) -> list[float]:
        ids = [BEGIN, *document.tolist()]
        return [float(np.log(self.p(tuple(ids[:i]), ids[i]))) for i in range(1, len(ids))]


def drawn(seed: int, vocabulary: int, documents: int, length: int) -> list[Ids]:
    """Return documents whose tokens follow each other unevenly, so that counts of all sizes occur."""
    generator = np.random.default_rng(seed)
    steps = np.minimum(generator.geometric(0.5, (documents, length)) - 1, vocabulary - 1)
    lengths = generator.integers(0, length + 1, documents)
    return [np.cumsum(row[:size]) % vocabulary for row, size in zip(steps, lengths, strict=True)]


@settings(deadline=None)
@given(
    st.integers(0, 999),
    st.integers(1, 9),
    st.integers(1, 30),
    st.sampled_from([1, 3, 12, 40]),
    st.sampled_from([1, 2, 3, 5]),
)
def test_it_is_the_plain_one(seed: int, vocabulary: int, documents: int, length: int, order: int) -> None:
    training, held_out = drawn(seed, vocabulary, documents, length), drawn(seed + 1, vocabulary + 2, 5, 20)
    training.append(np.array([0]))
    found, expected = KneserNey.fit(training, vocabulary + 2, order), Naive(training, vocabulary + 2, order)
    np.testing.assert_allclose(found.discounts, expected.discounts, rtol=1e-12)
    for document, values in zip(held_out, found.log_probabilities(held_out), strict=True):
        np.testing.assert_allclose(values, expected.log_probabilities(document), rtol=0, atol=1e-10)


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 7), st.integers(1, 30), st.sampled_from([1, 2, 3, 5]))
def test_no_token_is_more_probable_than_the_one_that_is_predicted(
    seed: int, vocabulary: int, documents: int, order: int
) -> None:
    training, held_out = [*drawn(seed, vocabulary, documents, 20), np.array([0])], drawn(seed + 1, vocabulary, 4, 12)
    found, plain = KneserNey.fit(training, vocabulary, order), Naive(training, vocabulary, order)
    predicted = iter(found.predict(held_out)[1].tolist())
    for document in held_out:
        for i in range(len(document)):
            history = (BEGIN, *document[:i].tolist())
            chances = [plain.p(history, token) for token in range(vocabulary)]
            assert chances[next(predicted)] == pytest.approx(max(chances), abs=1e-12)
    assert next(predicted, None) is None


def test_real_discounts_are_among_those_that_are_compared() -> None:
    assert FALLBACK not in KneserNey.fit(drawn(3, 9, 60, 40), 11, 5).discounts[2:]


@pytest.mark.parametrize("order", [1, 2, 5])
def test_after_every_history_the_vocabulary_adds_up_to_one(order: int) -> None:
    model = KneserNey.fit(drawn(0, 6, 40, 30), 8, order)  # tokens 6 and 7 were never seen
    for history in [(), (0,), (3, 1), (7,), (1, 7, 2), (0, 1, 2, 3, 4), (5, 5, 5, 5, 5, 5)]:
        documents = [np.array([*history, token]) for token in range(8)]
        last = [values[-1] for values in model.log_probabilities(documents)]
        assert np.exp(last).sum() == pytest.approx(1, abs=1e-12)


def test_an_example_by_hand() -> None:
    """Of begin 0 1 0 2 the counts of counts are too few, so the discounts are 0.5, 1 and 1.5.

    Single tokens have 2, 1 and 1 distinct tokens before them, of 4: p(0) = (2 - 1) / 4 + 1/2 * 1/4. After 0 came 1 and
    2, once each: p(1 | 0) = 0.5 / 2 + 1/2 p(1).
    """
    model = KneserNey.fit([np.array([0, 1, 0, 2])], 4, 2)
    np.testing.assert_allclose(model.unigram, [0.375, 0.25, 0.25, 0.125])
    after_zero = [np.exp(model.log_probabilities([np.array([0, token])])[0]) for token in range(4)]
    np.testing.assert_allclose(after_zero, [[0.6875, each] for each in (0.1875, 0.375, 0.375, 0.0625)])
    (after_unseen,) = model.log_probabilities([np.array([3, 0])])
    np.testing.assert_allclose(np.exp(after_unseen), [0.0625, 0.375])  # 1/2 * p(3) after the begin; nothing after 3


def test_the_peer_agrees_where_it_makes_the_same_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """nltk's has one discount, none for single tokens, and other counts at the begin of a document."""
    models: Any = pytest.importorskip("nltk.lm.models")
    preprocessing: Any = pytest.importorskip("nltk.lm.counter")
    vocabularies: Any = pytest.importorskip("nltk.lm.vocabulary")
    discounts = iter([(0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (0.1, 0.1, 0.1)])
    monkeypatch.setattr(kneser_ney, "_discounts", lambda _: next(discounts))
    training = [document for document in drawn(4, 6, 20, 30) if len(document)]
    ours = KneserNey.fit(training, 6, 3)
    named = [["<s>", *map(str, document)] for document in training]
    grams = [
        [tuple(ids[i : i + n]) for n in (1, 2, 3) for i in range(len(ids) - n + 1) if ids[i + n - 1] != "<s>"]
        for ids in named
    ]
    vocabulary = vocabularies.Vocabulary(["<s>", *map(str, range(6))])
    counts = preprocessing.NgramCounter(grams)
    peer = models.KneserNeyInterpolated(3, discount=0.1, vocabulary=vocabulary, counter=counts)
    seen = {gram[:2] for document in grams for gram in document if len(gram) == 3 and "<s>" not in gram}
    assert len(seen) > 10
    for history in sorted(tuple(map(int, gram)) for gram in seen):
        values = ours.log_probabilities([np.array([0, *history, token]) for token in range(6)])
        found = np.exp([each[-1] for each in values])
        expected = [peer.score(str(token), list(map(str, history))) for token in range(6)]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_begins_count_and_empty_documents_do_not_matter() -> None:
    training = drawn(5, 5, 20, 10)
    model, same = KneserNey.fit(training, 5), KneserNey.fit([*training, np.empty(0, np.int64)], 5)
    documents = [np.array([2, 2, 1]), np.empty(0, np.int64), np.array([4])]
    first, empty, last = model.log_probabilities(documents)
    assert [len(first), len(empty), len(last)] == [3, 0, 1]
    np.testing.assert_array_equal(first, same.log_probabilities(documents)[0])
    assert model.log_probabilities([]) == []
    assert model.about["order"] == 5


@pytest.mark.parametrize(
    ("documents", "vocabulary", "order", "words"),
    [
        ([np.array([0, 1]), np.array([2, 5])], 5, 2, "token 1 of document 1 is 5; tokens are 0 to 4"),
        ([np.array([0, -1])], 5, 2, "token 1 of document 0 is -1"),
        ([np.array([0.5])], 5, 2, "document 0 must be token ids"),
        ([np.empty(0)], 5, 2, "no token to count"),
        ([], 5, 2, "no token to count"),
        ([np.array([0])], 0, 2, "a vocabulary has 1 to"),
        ([np.array([0])], 1, 0, "the order must be at least 1"),
    ],
)
def test_what_cannot_be_counted_is_named(documents: list[Any], vocabulary: int, order: int, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        KneserNey.fit(documents, vocabulary, order)
