"""Documents that are excluded for a query are in no ranking: of models, of BM25, or fused."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.evaluation.baselines import floor
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.predictions import predictions_of
from nearfar.tasks import Retrieval
from nearfar.text.bm25 import Bm25, reciprocal_rank_fusion
from nearfar.vectors.ranking import Ranking
from tests.evaluation.models import Words, retrieval

TEXTS = ["red fox", "grey goose", "red fox runs", "stones"]


def task(excluded: dict[int, list[int]]) -> Retrieval:
    plain = retrieval(TEXTS, TEXTS, {0: {2: 1}, 1: {0: 1}, 2: {0: 1}, 3: {}})
    return Retrieval(**{**plain.__dict__, "excluded": excluded})


def test_no_ranking_has_an_excluded_document() -> None:
    excluded = {0: [0], 1: [1, 2], 2: [2], 3: [3]}
    one = task(excluded)
    floors = [floor(name) for name in ("bm25", "bm25-stems", "random-order")]
    rankings = [*(each(one, 0).ranking for each in floors), predictions_of(Words(), one, 0).ranking]
    found = [ranking for ranking in rankings if isinstance(ranking, Ranking)]
    assert len(found) == 4
    for ranking in (*found, reciprocal_rank_fusion(found)):
        for query, rows in excluded.items():
            assert not set(rows) & set(ranking.rows[query].tolist())
    free = predictions_of(Words(), task({}), 0).ranking
    assert free is not None and free.rows[:, 0].tolist() == [0, 1, 2, 3]


def test_the_first_document_is_then_the_right_one() -> None:
    """With the query itself in the ranking, the right answer comes second."""
    assert evaluate(Words(), task({}), resamples=20).metrics["recall@1"] == 0
    report = evaluate(Words(), task({0: [0], 2: [2]}), baselines=["bm25"], resamples=20)
    for numbers in (report.metrics, report.baseline["bm25"], report.fusion["bm25"]):
        assert numbers["recall@1"] == pytest.approx(2 / 3)  # query 1 still finds itself
    assert report.protocol["queries"] == 3  # the fourth has no relevant document


def test_exclusions_follow_their_query_where_others_are_left_out() -> None:
    plain = retrieval(TEXTS[:3], TEXTS, {0: {}, 1: {0: 1}, 2: {0: 1}})
    one = Retrieval(**{**plain.__dict__, "excluded": {1: [1], 2: [2]}})
    samples = evaluate(Words(), one, baselines=[], resamples=20).samples
    shown = {row["query"]: [found["text"] for found in row["found"]] for row in samples}
    assert "grey goose" not in shown["grey goose"]
    assert "red fox runs" not in shown["red fox runs"]
    assert shown["red fox runs"][0] == "red fox"


def test_bm25_without_exclusions_ranks_as_before() -> None:
    bm25 = Bm25(TEXTS)
    np.testing.assert_array_equal(bm25.rank(TEXTS, 4).rows, bm25.rank(TEXTS, 4, {}).rows)
    assert bm25.rank(TEXTS, 4, {0: [0]}).rows[0].tolist() == [2, -1, -1, -1]


def test_chance_is_a_floor_and_no_fusion() -> None:
    report = evaluate(Words(), task({}), baselines=["random_order", "bm25"], resamples=20)
    assert list(report.baseline) == ["random-order", "bm25"]
    assert list(report.fusion) == ["bm25"]
    assert set(report.fusion_difference) == {"bm25", "model"}
