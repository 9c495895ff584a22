"""Diversity, word vectors and unrelated pairs against naive forms, and pairs shuffled on purpose."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.audit import diversity, material, unrelated
from nearfar.audit.findings import CheckResult
from nearfar.audit.vectors import Vectors, WordVectors
from nearfar.data.table import Table
from nearfar.text.analyser import words_and_signs as words

TEXTS = ["a red fox", "a red goose", "the grey goose", "the river bank", "a bank of the river", "fox and goose"] * 3


def unit(n: int, d: int, seed: int) -> Vectors:
    x = np.random.default_rng(seed).standard_normal((n, d))
    vectors: Vectors = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return vectors


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_vendi_score_is_that_of_the_whole_matrix(n: int, d: int, seed: int) -> None:
    x = unit(n, d, seed).astype(np.float64)
    values = np.linalg.eigvalsh(x @ x.T / n)
    values = values[values > 1e-12]
    expected = np.exp(-(values * np.log(values)).sum())
    assert diversity.vendi(unit(n, d, seed)) == pytest.approx(expected, rel=1e-5)


def test_the_vendi_score_counts_what_differs() -> None:
    assert diversity.vendi(np.eye(6, dtype=np.float32)) == pytest.approx(6)
    assert diversity.vendi(np.eye(6, dtype=np.float32)[[0] * 9]) == pytest.approx(1)
    assert diversity.vendi(np.eye(6, dtype=np.float32)[[0, 1] * 9]) == pytest.approx(2)


def test_words_are_the_leading_directions_of_tf_idf() -> None:
    space = WordVectors(TEXTS, dim=3)
    known = sorted({word for text in TEXTS for word in words(text)})
    documents_with = {word: sum(word in words(text) for text in TEXTS) for word in known}
    x = np.zeros((len(TEXTS), len(known)))
    for row, text in enumerate(TEXTS):
        for word, count in Counter(words(text)).items():
            weight = np.log((1 + len(TEXTS)) / (1 + documents_with[word])) + 1e-3
            x[row, known.index(word)] = (1 + np.log(count)) * weight
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = x @ np.linalg.svd(x)[2][:3].T
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    vectors = space.embed(TEXTS).astype(np.float64)
    np.testing.assert_allclose(vectors @ vectors.T, y @ y.T, atol=1e-4)


def test_a_text_of_unknown_words_has_a_zero_vector() -> None:
    assert not WordVectors(TEXTS).embed(["zebra", ""]).any()


def pairs(n: int, wrong: int) -> tuple[list[dict[str, str]], set[int]]:
    """Return n pairs whose sides share a topic's words, the keys of some permuted, and the rows of those."""
    draw = random.Random(0)
    rows = []
    for i in range(n):
        topic = draw.randrange(60)
        query_words = [f"topic{topic}word{draw.randrange(12)}" for _ in range(5)]
        key_words = [f"topic{topic}word{draw.randrange(12)}" for _ in range(9)]
        rows.append({"query": f"ask {' '.join(query_words)} {i}", "key": f"say {' '.join(key_words)} {n + i}"})
    shuffled = draw.sample(range(n), wrong)
    keys = [rows[i]["key"] for i in shuffled]
    for row, key in zip(shuffled, [*keys[1:], *keys[:1]]):
        rows[row]["key"] = key
    return rows, set(shuffled)


def reported(rows: list[dict[str, str]]) -> tuple[set[int], CheckResult]:
    result = unrelated.unrelated(material.read_material(Table(rows)))
    return {drop.row for drop in result.drops}, result


def test_shuffled_pairs_are_reported() -> None:
    rows, wrong = pairs(1500, 60)
    reported_rows, result = reported(rows)
    assert len(reported_rows & wrong) >= 0.8 * len(wrong)
    assert len(reported_rows & wrong) >= 0.8 * len(reported_rows)
    assert result.profile["pairs"]["estimated wrong"] == pytest.approx(0.04, abs=0.015)
    assert result.findings[0].level == "notice"
    assert result.findings[0].examples[0]["row"] - 1 in wrong


def test_a_set_that_is_broken_by_a_third_is_seen_to_be() -> None:
    rows, wrong = pairs(1500, 500)
    reported_rows, result = reported(rows)
    assert len(reported_rows & wrong) >= 0.8 * max(len(reported_rows), len(wrong))
    assert result.profile["pairs"]["estimated wrong"] == pytest.approx(1 / 3, abs=0.06)


def test_right_pairs_are_left_alone() -> None:
    rows, _ = pairs(1500, 0)
    reported_rows, result = reported(rows)
    assert len(reported_rows) <= 3
    assert result.profile["pairs"]["estimated wrong"] < 0.005


def test_no_pair_is_reported_where_vectors_do_not_separate_pairs() -> None:
    rows, _ = pairs(400, 400)
    reported_rows, result = reported(rows)
    assert reported_rows == set()
    assert "--model" in result.findings[0].fix


@given(st.floats(0.02, 0.3), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_the_threshold_keeps_its_promise(share: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    wrong = draw.random(4000) < share
    rank = np.where(wrong, draw.random(4000), 1 - draw.exponential(0.004, 4000))
    limit, estimate = unrelated.threshold(rank)
    below = rank < limit
    assert estimate == pytest.approx(wrong.mean(), abs=0.03)
    assert limit >= 0.5
    # Wrong ones are counted in the low ranks and reported up to the limit: two draws, each with its sampling error.
    error = math.sqrt(0.16 / below.sum() + 0.64 / (rank < unrelated.LOW).sum())
    assert wrong[below].mean() > unrelated.PRECISION - 2 * error


def test_ranks_are_those_of_the_naive_form() -> None:
    queries, keys = unit(40, 5, 1), unit(40, 5, 2)
    ranked = unrelated._rank(queries, keys, seed=3)
    draw = np.random.default_rng(3)
    random_keys, random_queries = draw.integers(0, 40, unrelated.RANDOM), draw.integers(0, 40, unrelated.RANDOM)
    key_mean = [np.mean([key @ queries[a] for a in random_queries]) for key in keys]
    for i in range(40):
        corrected = queries[i] @ keys[i] - key_mean[i]
        random_cosines = [queries[i] @ keys[j] - key_mean[j] for j in random_keys]
        lower = np.mean([corrected > value + 1e-6 for value in random_cosines])
        equal = np.mean([abs(corrected - value) <= 1e-6 for value in random_cosines])
        assert ranked.rank[i] == pytest.approx(lower + equal / 2, abs=2 / unrelated.RANDOM)
