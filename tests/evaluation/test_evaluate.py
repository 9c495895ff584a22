"""Evaluation from end to end: small tasks worked out by hand, then real ones."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.data.beir import Beir
from nearfar.data.similarity import Similarity
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate
from nearfar.tasks import Retrieval
from tests.evaluation.models import Table, Words, pairs, retrieval

QUICK: dict[str, Any] = {"resamples": 50}
NAMES = ["ndcg@10", "mrr@10", "map", "recall@1", "recall@10", "recall@100"]
SPACE = ["alignment", "effective_rank", "random_cosine", "uniformity"]


def small() -> tuple[Table, Any]:
    model = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1], "c": [1, 0.5]})
    return model, retrieval(["p", "q"], ["a", "b", "c", ""], {0: {2: 1}, 1: {1: 2, 3: 1}}, answer=42)


def often(times: int = 10) -> tuple[Table, Any]:
    """The small task many times over, so that there are enough clusters for intervals."""
    model, task = small()
    relevance = {2 * i + query: grades for i in range(times) for query, grades in task.relevance.items()}
    return model, retrieval(["p", "q"] * times, ["a", "b", "c", ""], relevance)


def test_metrics_are_means_over_queries() -> None:
    report = evaluate(*small(), baselines=[], **QUICK)
    assert list(report.metrics) == NAMES + SPACE
    assert report.metrics["mrr@10"] == pytest.approx(
        (1 / 2 + 1) / 2
    )  # p finds a, c; q finds b, c, a, then the empty one
    assert report.metrics["recall@1"] == pytest.approx((0 + 1 / 2) / 2)
    assert report.metrics["map"] == pytest.approx((1 / 2 + (1 + 2 / 4) / 2) / 2)
    assert (report.baseline, report.fusion, report.difference) == ({}, {}, {})


def test_means_have_intervals_within_their_range() -> None:
    report = evaluate(*often(), baselines=[], **QUICK)
    assert list(report.intervals) == NAMES
    for name, interval in report.intervals.items():
        assert 0 <= interval["low"] <= report.metrics[name] <= interval["high"] <= 1
    assert report.metrics["recall@10"] == 1
    assert report.intervals["recall@10"]["low"] < 0.95  # twenty hits are no proof


def test_alignment_is_that_of_the_best_graded_documents() -> None:
    model, task = small()
    best = [(model.vectors["p"], model.vectors["c"]), (model.vectors["q"], model.vectors["b"])]
    expected = np.mean([((x - y) ** 2).sum() for x, y in best])
    assert evaluate(model, task, **QUICK).metrics["alignment"] == pytest.approx(expected)


def test_distinct_texts_are_embedded_once_under_their_role_and_empty_ones_never() -> None:
    model = Words()
    task = retrieval(["x y", "z", "x y"], ["x", "", "z z", "x", "  "], {0: {0: 1}, 1: {2: 1}, 2: {3: 1}})
    report = evaluate(model, task, **QUICK)
    assert model.calls == [("query", ["x y", "z"]), ("key", ["x", "z z"])]
    assert report.protocol["model"]["space"] == {"vectors": 6, "pairs": 3}


def test_worst_queries_come_first_with_what_was_found() -> None:
    report = evaluate(*small(), **QUICK)
    assert report.worst[0] == {
        "query": "p",
        "value": pytest.approx(1 / np.log2(3)),  # its nDCG@10: the first value of the usual metrics
        "rank": 2,
        "expected": ["c"],
        "found": [
            {"text": "a", "score": pytest.approx(1 / np.sqrt(1.01)), "relevant": False},
            {"text": "c", "score": pytest.approx(1 / np.sqrt(1.25)), "relevant": True},
            {"text": "b", "score": pytest.approx(0.1 / np.sqrt(1.01)), "relevant": False},
        ],
    }
    assert len(report.worst) == 1, "q found a relevant document first"
    assert report.protocol["queries with a wrong first document"] == 1
    assert report.protocol["worst"] == "lowest ndcg@10 first, then deepest first relevant document"


class NotQ:
    """1 for every query but q: a value for each query, of somebody's own."""

    takes: ClassVar[tuple[type, ...]] = (Retrieval,)
    needs: ClassVar[tuple[str, ...]] = ("ranking",)
    usual: ClassVar[bool] = False
    meaning: ClassVar[dict[str, str]] = {"not_q": "1 for every query but q", "all": "how many queries there are"}

    def __call__(self, task: Any, predictions: Any) -> dict[str, Any]:
        queries = task.queries.read(0, len(task.queries))
        return {"all": float(len(queries)), "not_q": np.array([text != "q" for text in queries], float)}


def test_the_worst_queries_are_those_of_the_first_metric_with_a_value_for_each() -> None:
    model = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1]})
    task = retrieval(["p", "q"], ["a", "b"], {0: {1: 2, 0: 0}, 1: {0: 1}})  # both find the wrong one first
    own = evaluate(model, task, [NotQ(), "retrieval"], **QUICK)
    assert [(row["query"], row["value"]) for row in own.worst] == [("q", 0), ("p", 1)]
    assert own.protocol["worst"].startswith("lowest not_q first")
    assert [row["query"] for row in evaluate(model, task, ["retrieval", NotQ()], **QUICK).worst] == ["p", "q"]
    assert evaluate(*small(), ["alignment"], **QUICK).worst == []  # nothing has a value for each query
    assert "worst" not in evaluate(*small(), ["alignment"], **QUICK).protocol


def test_worst_queries_are_ten_by_value_then_depth_with_short_texts() -> None:
    documents = [f"d{i} " + "w" * 400 for i in range(30)]
    vectors = {text: [1.0, i / 30] for i, text in enumerate(documents)}
    vectors |= {f"q{i}": [1.0, 0.0] for i in range(15)}  # so document i has rank i + 1
    task = retrieval([f"q{i}" for i in range(15)], documents, {i: {2 * i: 1} for i in range(15)})
    worst = evaluate(Table(vectors), task, **QUICK).worst
    assert [row["rank"] for row in worst] == [29, 27, 25, 23, 21, 19, 17, 15, 13, 11]
    few = retrieval([f"q{i}" for i in range(15)], documents, {i: {max(0, i - 11): 1} for i in range(15)})
    report = evaluate(Table(vectors), few, **QUICK)
    assert [row["query"] for row in report.worst] == ["q14", "q13", "q12"]  # the other twelve found theirs first
    assert report.protocol["queries with a wrong first document"] == 3
    assert all(len(text) <= 300 and text.endswith("…") for row in worst for text in row["expected"])


def test_the_histogram_counts_every_pair_once() -> None:
    histogram = evaluate(*small(), **QUICK).histogram
    assert len(histogram["edges"]) == 41
    assert (histogram["edges"][0], histogram["edges"][-1]) == (-1, 1)
    assert sum(histogram["positive"]) == 2  # the third pair's document is empty
    assert np.argmax(histogram["positive"]) >= 37
    assert sum(histogram["random"]) <= 8


def test_a_baseline_is_compared_query_by_query() -> None:
    report = evaluate(*often(), baselines=["bm25"], **QUICK)
    assert report.baseline["bm25"] == dict.fromkeys(NAMES, 0.0)  # no word in common
    for name in NAMES:
        assert report.difference["bm25"][name]["value"] == pytest.approx(report.metrics[name])
        gap, own = report.difference["bm25"][name], report.intervals[name]
        assert (gap["high"], 0) == pytest.approx((own["high"], report.baseline["bm25"][name]))
        assert gap["low"] <= own["low"]  # some query may be worse than with BM25, none below 0
        assert report.fusion["bm25"][name] == pytest.approx(report.metrics[name])  # BM25 adds nothing
        none = report.fusion_difference["model"][name]
        assert none["value"] == 0
        assert -0.2 < none["low"] < -0.05 < 0.05 < none["high"] < 0.2  # of 20 queries that are equal
    assert set(report.fusion_difference) == {"bm25", "model"}
    assert evaluate(*small(), baselines=["bm25"], fusion=False, **QUICK).fusion == {}


def test_models_are_baselines_too_and_names_do_not_collide(tmp_path: Path) -> None:
    model, task = small()
    kept = Words(8)
    kept.folder = tmp_path  # type: ignore[attr-defined]
    report = evaluate(model, task, baselines=[model, "bm25", model, kept, "bm25"], **QUICK)
    assert list(report.baseline) == ["model 2", "bm25", "model 3", str(tmp_path)]
    assert list(report.baseline["model 2"]) == NAMES + SPACE
    assert report.difference["model 2"]["map"]["value"] == 0
    assert list(report.fusion_difference)[:3] == ["model 2", "model", "bm25"]
    assert "model, of the fusion with bm25" in report.fusion_difference
    assert report.protocol["baselines"][str(tmp_path)]["fingerprint"] == "words"


def test_queries_without_a_relevant_document_are_left_out() -> None:
    model, _ = small()
    task = retrieval(["p", "a", "q"], ["b", "c"], {0: {1: 1}, 1: {0: 0}, 2: {0: 1}}, [5, 6, 7])
    report = evaluate(model, task, **QUICK)
    assert report.metrics["mrr@10"] == 1
    assert report.protocol["queries"] == 2
    assert report.protocol["queries without a relevant document"] == 1
    assert (report.worst, report.protocol["queries with a wrong first document"]) == ([], 0)
    assert {row["query"] for row in report.samples} == {"p", "q"}


def test_the_protocol_says_how_the_numbers_came_about() -> None:
    report = evaluate(*small(), seed=7, **QUICK)
    assert report.task == "small"
    protocol = report.protocol
    assert protocol["notes"] == {"answer": 42}
    assert (protocol["queries"], protocol["documents"], protocol["clusters"], protocol["depth"]) == (2, 4, 2, 4)
    assert set(protocol["metrics"]) == {*NAMES, *SPACE}
    interval = protocol["interval"]
    assert (interval["confidence"], interval["resamples"], interval["seed"]) == (0.95, 50, 7)
    assert "intervals" in protocol  # too few clusters for any
    protocol = evaluate(*often(), **QUICK).protocol
    assert "intervals" not in protocol


def test_few_clusters_have_no_interval_and_the_protocol_says_so() -> None:
    model, task = often(14)
    task = replace(task, clusters=np.arange(28) // 2)
    report = evaluate(model, task, baselines=["bm25"], **QUICK)
    result = report.to_json()
    assert result["intervals"]["map"] == {"low": None, "high": None}
    assert result["difference"]["bm25"]["map"]["low"] is None
    assert result["difference"]["bm25"]["map"]["value"] == report.metrics["map"]
    words = "fewer than 15 independent clusters (14)"
    assert result["protocol"]["intervals"] == words
    json.dumps(result, allow_nan=False)


def test_what_cannot_be_computed_is_null() -> None:
    model = Table({"p": [1, 0], "a": [0, 1]})
    result = evaluate(model, retrieval(["p"], ["a", ""], {0: {1: 1}}), **QUICK).to_json()
    assert result["metrics"]["alignment"] is None  # the only relevant document is empty
    assert result["worst"][0]["rank"] == 2
    assert sum(result["histogram"]["positive"]) == 0


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (evaluate(*small(), baselines=["bm25"], seed=1, **QUICK).to_json() for _ in range(2))
    assert first == second


def test_bad_input_is_an_error() -> None:
    model, task = small()
    with pytest.raises(InputError, match=r"no baseline is called 'bm52'; did you mean 'bm25'"):
        evaluate(model, task, baselines="bm52")
    with pytest.raises(InputError, match="resamples must be at least 1"):
        evaluate(model, task, resamples=0)
    with pytest.raises(InputError, match="a dict is not a task"):
        evaluate(model, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"column 'query', row 2: is empty"):
        evaluate(model, retrieval(["p", " "], ["a"], {0: {0: 1}, 1: {0: 1}}))
    with pytest.raises(InputError, match=r"column 'document': all 2 rows are empty"):
        evaluate(model, retrieval(["p"], ["", ""], {0: {0: 1}}))

    class Broken:
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return np.full((len(cells), 2), np.nan, np.float32)

    with pytest.raises(InputError, match="rows are NaN"):
        evaluate(Broken(), task)

    class Short:
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return np.ones((1, 2), np.float32)

    with pytest.raises(InputError, match=r"returned \(1, 2\) for 2 cells"):
        evaluate(Short(), task)


def test_similarity_is_correlation_with_intervals() -> None:
    model, _ = small()
    report = evaluate(model, pairs([4.0, 1, 3, 5]), **QUICK)
    assert list(report.metrics) == ["spearman", "pearson", *SPACE]
    assert report.metrics["spearman"] == pytest.approx(np.corrcoef([3, 1, 2, 4], [3.5, 1, 2, 3.5])[0, 1], abs=1e-9)
    assert set(report.intervals) == {"spearman", "pearson"}
    assert report.protocol["notes"] == {"from": "hand"}
    assert report.protocol["pairs"] == 4
    assert "null" in report.protocol
    compared = evaluate(model, pairs([4.0, 1, 3, 5]), baselines=[model], **QUICK)
    assert compared.difference["model 2"]["spearman"]["value"] == 0
    assert compared.baseline["model 2"] == compared.metrics
    with pytest.raises(
        InputError,
        match=r"bm25 cannot judge pairs, a task of similarity over text: it serves retrieval .*; .*word-overlap can",
    ):
        evaluate(model, pairs([4.0, 1, 3, 5]), baselines=["bm25"])


def test_real_retrieval(shared_data: Path) -> None:
    report = evaluate(Words(256), Beir(shared_data / "C-cranfield").task(), baselines=["bm25-stems"], resamples=200)
    assert report.baseline["bm25-stems"]["ndcg@10"] == pytest.approx(0.524, abs=0.005)
    assert 0.1 < report.metrics["ndcg@10"] < 0.5
    assert report.difference["bm25-stems"]["ndcg@10"]["high"] < 0
    assert sum(report.histogram["positive"]) == 1837 - 1  # one relevant document is empty
    positive, random = (np.average(np.arange(40), weights=report.histogram[kind]) for kind in ("positive", "random"))
    assert positive > random
    assert report.protocol["notes"]["empty documents"] == 2
    json.dumps(report.to_json(), allow_nan=False)


def test_real_similarity(shared_data: Path) -> None:
    report = evaluate(Words(256), Similarity(shared_data / "B-stsb" / "sts-test.csv.gz").task(), resamples=100)
    assert 0.4 < report.metrics["spearman"] < 0.7
    assert report.intervals["spearman"]["low"] < report.metrics["spearman"] < report.intervals["spearman"]["high"]
    assert report.protocol["clusters"] < report.protocol["pairs"] == 1379


def test_a_usual_floor_that_cannot_read_the_cells_is_left_out_and_told() -> None:
    cells = [np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)]
    unequal = [np.ones(3, np.float32), np.ones(4, np.float32)]

    class Fixed:
        def embed(self, given: Any, /, role: Any = None) -> Any:
            return np.eye(2, dtype=np.float32)[: len(given)]

    for kind, first in (("vector", unequal), ("image", cells)):
        query, document = ListColumn("query", first), ListColumn("document", first)
        task = Retrieval(kind, query, document, ["a", "b"], ["c", "d"], {0: {0: 1}, 1: {1: 1}}, np.arange(2))
        report = evaluate(Fixed(), task, resamples=10)
        failed = report.protocol.get("floors without a result", {})
        assert list(failed) == (["pixels"] if kind == "vector" else [])
        assert ("pixels" in report.baseline) == (kind == "image")
        if failed:
            assert list(report.baseline) == ["random-order"]
            with pytest.raises(InputError, match="cells must have equally many values"):
                evaluate(Fixed(), task, baselines="pixels", resamples=10)
