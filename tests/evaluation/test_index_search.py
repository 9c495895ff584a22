"""A search of an index is judged as all else is: by the same metrics, queries and resamples, beside its parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.index_search import IndexSearch
from nearfar.index.hybrid import DEPTH
from nearfar.tasks import Retrieval
from tests.evaluation.models import Words, pairs, retrieval

ANIMALS = ["fox", "goose", "hare", "wolf", "owl", "mole", "elk", "carp"]
TEXTS = [f"a {one} and a {other}" for one in ANIMALS for other in ANIMALS if one != other]
QUERIES = [f"the {one} with the {other}" for one, other in zip(ANIMALS, ANIMALS[1:] + ANIMALS[:1])] * 3
MODEL = Words(dim=24)  # few dimensions, so that words collide and its vectors err where words do not


def task(**changed: Any) -> Retrieval:
    right = [TEXTS.index(f"a {one} and a {other}") for one, other in zip(ANIMALS, ANIMALS[1:] + ANIMALS[:1])]
    plain = retrieval(QUERIES, TEXTS, {query: {right[query % len(right)]: 1} for query in range(len(QUERIES))})
    return Retrieval(**{**plain.__dict__, **changed})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[nf.Index]:
    with nf.Index.create(tmp_path / "index", MODEL) as made:
        made.add([{"id": f"row {row:02}", "text": text} for row, text in enumerate(TEXTS)])
        yield made


def test_its_ranking_is_what_a_search_finds(index: nf.Index) -> None:
    for mode in ("hybrid", "words", "vectors"):
        ranking = IndexSearch(index, mode)(task(), 0).ranking
        assert ranking is not None and ranking.rows.shape == (len(QUERIES), DEPTH)
        for query, row in zip(QUERIES, ranking.rows.tolist()):
            found = [int(hit.id.removeprefix("row ")) for hit in index.search(query, 10, mode=mode)]
            assert [document for document in row if document >= 0][: len(found)] == found
        assert np.isneginf(ranking.scores[ranking.rows < 0]).all()


def test_its_report_stands_beside_the_floors_and_the_vectors_alone(index: nf.Index) -> None:
    report = evaluate(MODEL, task(), search=IndexSearch(index), resamples=50)
    found = report.search
    assert found is not None
    assert list(found.baseline) == ["vectors", *report.baseline]
    for name, numbers in found.baseline.items():
        whole = report.metrics if name == "vectors" else report.baseline[name]
        assert numbers == {metric: whole[metric] for metric in found.metrics}
        for metric, gap in found.difference[name].items():
            assert gap["value"] == pytest.approx(found.metrics[metric] - numbers[metric])
            assert gap["low"] <= gap["value"] <= gap["high"]
    assert set(found.intervals) == set(found.metrics)
    assert report.fusion == {}  # it is that
    content = report.to_json()
    assert content["search"]["verdict"]["metric"] == "mrr@10"
    assert content["search"]["protocol"]["search"]["mode"] == "hybrid"
    assert content["search"]["protocol"]["queries"] == len(QUERIES)


def test_the_intervals_are_those_of_a_model_that_ranks_alike(index: nf.Index) -> None:
    """By vectors alone the search is the model: every difference is zero, every other number is the model's."""
    report = evaluate(MODEL, task(), search=IndexSearch(index, "vectors"), resamples=50)
    found = report.search
    assert found is not None
    assert {name: report.intervals[name] for name in found.intervals} == found.intervals
    for name, gaps in report.difference.items():
        assert {metric: gap for metric, gap in gaps.items() if metric in found.metrics} == found.difference[name]
    assert {gap["value"] for gap in found.difference["vectors"].values()} == {0}


def test_what_is_excluded_is_not_ranked(index: nf.Index) -> None:
    whole = IndexSearch(index)(task(), 0).ranking
    assert whole is not None
    right = [next(iter(grades)) for grades in task().relevance.values()]
    wrong = [[row for row in rows[:2] if row != right[query]] for query, rows in enumerate(whole.rows.tolist())]
    less = IndexSearch(index)(task(excluded=dict(enumerate(wrong))), 0).ranking
    assert less is not None
    for rows, others, out in zip(whole.rows.tolist(), less.rows.tolist(), wrong):
        kept = [row for row in rows if row not in out]
        assert others == kept + [-1] * (DEPTH - len(kept))


def test_rows_of_one_text_are_one_document(index: nf.Index) -> None:
    before = IndexSearch(index, "vectors")(task(), 0).ranking
    index.add([{"id": f"copy {row:02}", "text": text} for row, text in enumerate(TEXTS[:20])])
    after = IndexSearch(index, "vectors")(task(), 0).ranking
    assert before is not None and after is not None
    for rows in after.rows.tolist():
        found = [row for row in rows if row >= 0]
        assert len(set(found)) == len(found)
    assert (before.rows[:, :5] == after.rows[:, :5]).all()


def test_a_row_that_is_no_document_is_an_error(index: nf.Index) -> None:
    index.add([{"id": "other", "text": "the fox with the goose"}])
    with pytest.raises(InputError, match="the index's row 'other' is no document of this task"):
        evaluate(MODEL, task(), search=IndexSearch(index), resamples=20)


def test_tasks_without_documents_have_no_search(index: nf.Index) -> None:
    class OfPairs:
        fingerprint, dim = "pairs", 2

        def embed(self, cells: list[Any], /, role: str | None = None) -> Any:
            return np.array([[1, 0] if cell in "pa" else [0.6, 0.8] for cell in cells], np.float32)

    assert evaluate(OfPairs(), pairs([5, 1, 2, 3]), search=IndexSearch(index), resamples=20).search is None
