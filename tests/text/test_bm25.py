"""BM25 against its formula and known figures; fusion against its definition."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import ListColumn
from nearfar.contracts import Predictions
from nearfar.data.beir import Beir
from nearfar.errors import InputError
from nearfar.metrics.retrieval import Retrieval
from nearfar.text.analyser import words
from nearfar.text.bm25 import Bm25, reciprocal_rank_fusion
from nearfar.vectors.ranking import Ranking

PLAIN: dict[str, Any] = {"k1": 1.2, "b": 0.75, "identifiers": False}


def naive(documents: list[str], query: str, k1: float, b: float) -> list[float]:
    bags = [document.split() for document in documents]
    mean = sum(map(len, bags)) / len(bags)
    scores = []
    for bag in bags:
        score = 0.0
        for word in query.split():
            holding = sum(word in other for other in bags)
            often = bag.count(word)
            rarity = math.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
            score += rarity * often / (k1 * (1 - b + b * len(bag) / mean) + often) if often else 0.0
        scores.append(score)
    return scores


text = st.lists(st.sampled_from(["red", "fox", "grey", "goose", "runs"]), max_size=8).map(" ".join)


@settings(deadline=None, max_examples=100)
@given(st.lists(text, min_size=1, max_size=8), text, st.floats(0.1, 3), st.floats(0, 1), st.integers(1, 10))
def test_it_is_the_formula(documents: list[str], query: str, k1: float, b: float, k: int) -> None:
    ranking = Bm25(documents, **(PLAIN | {"k1": k1, "b": b})).rank([query], k)
    expected = naive(documents, query, k1, b) if any(documents) else [0.0] * len(documents)
    assert ranking.rows.shape == (1, min(k, len(documents)))
    found = ranking.rows[0] >= 0
    assert found.sum() == min(k, sum(score > 0 for score in expected))
    best = sorted(expected, reverse=True)[: found.sum()]
    np.testing.assert_allclose(ranking.scores[0][found], best, rtol=1e-5)
    np.testing.assert_allclose([expected[row] for row in ranking.rows[0][found]], best, rtol=1e-5)
    assert np.isneginf(ranking.scores[0][~found]).all()


def test_equal_documents_stay_in_order() -> None:
    ranking = Bm25(["a fox", "goose", "a fox", "a fox"]).rank(["fox"], 2)
    assert ranking.rows.tolist() == [[0, 2]]


@pytest.mark.parametrize("documents", [[], [""], ["", "  "], ["the of and"]])
def test_a_corpus_without_words_finds_nothing(documents: list[str]) -> None:
    ranking = Bm25(documents).rank(["anything", ""], 5)
    assert ranking.rows.shape == (2, len(documents))
    assert (ranking.rows == -1).all()


def test_queries_without_known_words_find_nothing_and_others_are_not_disturbed() -> None:
    ranking = Bm25(["fox", "", "goose"]).rank(["", "the", "unknown", "goose unknown"], 3)
    assert ranking.rows.tolist() == [[-1] * 3] * 3 + [[2, -1, -1]]


def test_identifiers_count_in_parts_and_as_a_whole() -> None:
    assert words("parse_HTTPHeader2") == ["parse", "http", "header", "2", "parse_httpheader2"]
    assert words("__init__ loadAll utf8 café x") == ["init", "load", "all", "loadall", "utf", "8", "utf8", "café", "x"]
    assert words("_ __ ...") == []
    assert words("Load_all, x2!", identifiers=False) == ["load", "all", "x2"]
    ranking = Bm25(["def readJsonLines(path): pass", "def write(path): pass"]).rank(["read lines of json"], 2)
    assert ranking.rows.tolist() == [[0, -1]]


def test_it_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Bm25(["a fox", ""]).rank(["fox", ""], 2)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_bad_input_is_an_error() -> None:
    with pytest.raises(InputError, match=r"a document must be text, it is int \(3\)"):
        Bm25(["a", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="a query must be text"):
        Bm25(["a"]).rank([None], 1)  # type: ignore[list-item]
    with pytest.raises(InputError, match="k must be at least 1"):
        Bm25(["a"]).rank(["a"], 0)
    with pytest.raises(InputError, match="no language is called 'englisch'; did you mean 'english'"):
        Bm25(["a"], language="englisch")
    refused: list[dict[str, Any]] = [{"k1": -1.0}, {"b": 1.5}, {"k1": math.nan}]
    for wrong in refused:
        with pytest.raises(InputError, match="k1 must be at least 0 and b within 0 to 1"):
            Bm25(["a"], **wrong)


@pytest.mark.parametrize(
    ("name", "plain", "best"),
    [("C-cranfield", (0.494, 0.395), (0.524, 0.430)), ("C-cisi", (0.350, 0.187), (0.414, 0.229))],
)
def test_known_figures(shared_data: Path, name: str, plain: tuple[float, ...], best: tuple[float, ...]) -> None:
    task = Beir(shared_data / name).task()
    for settings_, expected in ((PLAIN, plain), ({"language": "english"}, best)):
        ranking = Bm25(task.documents, **settings_).rank(task.queries.read(0, len(task.queries)), 1000)
        values = Retrieval()(task, Predictions(ranking=ranking))
        assert [values[name].mean() for name in ("ndcg@10", "map")] == pytest.approx(expected, abs=0.006)


def test_a_column_is_read_like_a_list() -> None:
    documents = ["a fox", "a goose"]
    for source in (documents, tuple(documents), ListColumn("document", documents)):
        assert Bm25(source).rank(["geese goose"], 1).rows.tolist() == [[1]]


def ranking(*rows: list[int]) -> Ranking:
    return Ranking(np.array(rows, np.int64), np.zeros((len(rows), len(rows[0])), np.float32))


def test_fusion_adds_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([ranking([3, 1, 2]), ranking([1, 5, -1])], k=60)
    assert fused.rows.tolist() == [[1, 3, 5]]
    np.testing.assert_allclose(fused.scores, [[1 / 62 + 1 / 61, 1 / 61, 1 / 62]], rtol=1e-6)
    deep = reciprocal_rank_fusion([ranking([3, 1, 2]), ranking([1, 5, -1])], depth=6)
    assert deep.rows.tolist() == [[1, 3, 5, 2, -1, -1]]
    assert np.isneginf(deep.scores[0, 4:]).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 999), st.integers(0, 100), st.integers(1, 12))
def test_fusion_is_its_definition(systems: int, width: int, seed: int, k: int, depth: int) -> None:
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(10)[:width] for _ in range(systems)]
    gains = np.zeros(10)
    for order in orders:
        gains[order] += 1 / (k + 1 + np.arange(width))
    fused = reciprocal_rank_fusion([ranking(order.tolist()) for order in orders], k, depth)
    expected = np.argsort(-gains.astype(np.float32), kind="stable")[:depth]
    expected = expected[gains[expected] > 0]
    assert fused.rows[0, : len(expected)].tolist() == expected.tolist()
    assert (fused.rows[0, len(expected) :] == -1).all()


def test_fusing_a_ranking_with_itself_changes_nothing() -> None:
    one = ranking([4, 2, 9], [1, 0, -1])
    assert reciprocal_rank_fusion([one, one]).rows.tolist() == one.rows.tolist()


def test_fusion_of_what_does_not_fit_is_an_error() -> None:
    one = ranking([1, 2])
    for wrong in ([], [one, ranking([1], [2])]):
        with pytest.raises(InputError, match="rankings of the same queries"):
            reciprocal_rank_fusion(wrong)
    for settings_ in ({"k": -1}, {"depth": 0}):
        with pytest.raises(InputError, match="k must be at least 0 and depth at least 1"):
            reciprocal_rank_fusion([one], **settings_)


def test_all_scores_are_those_of_single_pairs() -> None:
    documents, queries = ["a red fox", "", "the grey goose and the fox"], ["fox", "goose fox", "nothing", "the the"]
    bm25 = Bm25(documents)
    found = bm25.score_all(queries)
    for i, query in enumerate(queries):
        np.testing.assert_array_equal(found[i], bm25.score([query] * 3, np.arange(3)))
    assert Bm25(["", " "]).score_all(["fox"]).tolist() == [[0.0, 0.0]]
