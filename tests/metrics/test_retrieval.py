"""Retrieval metrics against a hand-written reference, query by query."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import ListColumn
from nearfar.contracts import Predictions, Values
from nearfar.errors import InputError
from nearfar.metrics.retrieval import Retrieval
from nearfar.tasks import Retrieval as Task
from nearfar.vectors.ranking import Ranking


def task_of(relevance: dict[int, dict[int, int]], q: int, m: int) -> Task:
    queries, documents = ListColumn("query", ["q"] * q), ListColumn("document", ["d"] * m)
    return Task(
        "t", queries, documents, [str(i) for i in range(q)], [str(i) for i in range(m)], relevance, np.arange(q)
    )


def ranking_of(rows: list[list[int]]) -> Ranking:
    width = max(map(len, rows))
    padded = np.array([row + [-1] * (width - len(row)) for row in rows], np.int64).reshape(len(rows), width)
    return Ranking(padded, np.zeros(padded.shape, np.float32))


def measured(task: Task, ranking: Ranking) -> dict[str, Values]:
    return Retrieval()(task, Predictions(ranking=ranking))


def reference(grades: dict[int, int], rows: list[int]) -> dict[str, float]:
    relevant = {row for row, grade in grades.items() if grade > 0}
    hits = [row in relevant for row in rows]
    discounts = [1 / math.log2(place + 2) for place in range(10)]
    gain = sum(max(grades.get(row, 0), 0) * discount for row, discount in zip(rows, discounts))
    ideal = sum(
        g * discount for g, discount in zip(sorted((g for g in grades.values() if g > 0), reverse=True), discounts)
    )
    first = next((place for place, hit in enumerate(hits[:10]) if hit), None)
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return {
        "ndcg@10": gain / ideal,
        "mrr@10": 0.0 if first is None else 1 / (first + 1),
        "map": sum(precisions) / len(relevant),
        **{f"recall@{k}": sum(hits[:k]) / len(relevant) for k in (1, 10, 100)},
    }


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 160), st.integers(0, 9999))
def test_values_equal_the_reference(q: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    relevance = {}
    for query in range(q):
        judged = generator.choice(m, generator.integers(1, min(m, 30) + 1), replace=False)
        relevance[query] = {int(row): int(generator.integers(-1, 4)) for row in judged} | {int(judged[0]): 1}
    rows = [generator.permutation(m)[: generator.integers(0, m + 1)].tolist() for _ in range(q)]
    rows[0] = generator.permutation(m).tolist()
    values = measured(task_of(relevance, q, m), ranking_of(rows))
    assert list(values) == ["ndcg@10", "mrr@10", "map", "recall@1", "recall@10", "recall@100"]
    for query in range(q):
        expected = reference(relevance[query], rows[query])
        assert {name: values[name][query] for name in values} == pytest.approx(expected, abs=1e-6)


def test_queries_without_a_relevant_document_get_nan() -> None:
    task = task_of({0: {1: 0}, 2: {1: 2}, 3: {}}, 4, 3)
    values = measured(task, ranking_of([[1, 0, 2]] * 4))
    for per_query in values.values():
        assert np.isnan(per_query).tolist() == [True, True, False, True]
        assert per_query[2] == 1


def test_a_query_with_an_empty_ranking_gets_zero() -> None:
    values = measured(task_of({0: {1: 1}, 1: {1: 1}}, 2, 2), ranking_of([[], [1, 0]]))
    assert {tuple(per_query) for per_query in values.values()} == {(0.0, 1.0)}


def test_the_order_of_the_ranking_counts_and_its_scores_do_not() -> None:
    task, rows = task_of({0: {0: 1}}, 1, 120), np.arange(119, -1, -1)[None]
    for scores in (np.zeros((1, 120), np.float32), np.arange(120, dtype=np.float32)[None]):
        assert measured(task, Ranking(rows, scores))["map"][0] == pytest.approx(1 / 120)


def test_more_queries_than_a_block() -> None:
    values = measured(task_of({i: {i % 3: 1} for i in range(1100)}, 1100, 3), ranking_of([[0, 1, 2]] * 1100))
    np.testing.assert_allclose(values["mrr@10"], [1 / (i % 3 + 1) for i in range(1100)])


def test_rankings_that_do_not_fit_are_errors() -> None:
    task = task_of({0: {0: 1}}, 1, 150)
    with pytest.raises(InputError, match="the ranking has 2 queries, the task has 1"):
        measured(task, ranking_of([[0], [1]]))
    with pytest.raises(InputError, match="99 deep; give 100 or more"):
        measured(task, ranking_of([list(range(99))]))
    with pytest.raises(InputError, match="has document 150, the task only 0 to 149"):
        measured(task, ranking_of([list(range(50, 151))]))
