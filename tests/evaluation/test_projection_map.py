"""The map of vectors and the sample searches: worked out by hand, drawn by the seed, of texts alone."""

import numpy as np
import pytest

from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.predictions import predictions_of
from nearfar.evaluation.projection_map import MOST, projection_map
from tests.evaluation.models import Means, Table, Words, labelled, pairs, retrieval


def test_the_map_of_pictures_has_a_thumbnail_for_each_point() -> None:
    pytest.importorskip("PIL.Image", reason="the extra images is not installed")
    pictures = [np.full((6, 8, 3), value, np.uint8) for value in range(0, 200, 20)]
    task = labelled(pictures, [i % 2 for i in range(10)], pictures[:2], [0, 1])
    found, files = projection_map(task, predictions_of(Means(), task, 0), 0)
    assert list(files) == [found["file"]]
    assert found["columns"] * found["rows"] >= len(found["x"]) == 10
    assert (found["tile"], set(found["text"])) == (8, {""})
    assert 0 <= found["kept"] <= 1


def test_retrieval_shows_queries_documents_and_their_pairs() -> None:
    model = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1], "c": [1, 0.5]})
    task = retrieval(["p", "q"], ["a", "b", "c", ""], {0: {2: 1}, 1: {1: 2, 3: 1}})
    found = projection_map(task, predictions_of(model, task, 0), 0)[0]
    assert found["groups"] == ["queries", "documents"]
    assert found["group"] == [0, 0, 1, 1, 1]
    assert found["text"] == ["p", "q", "a", "b", "c"]  # the empty document has no vector
    assert [(found["text"][i], found["text"][j]) for i, j in found["pairs"]] == [("p", "c"), ("q", "b")]
    assert (found["dim"], found["of"]) == (2, 6)
    assert sum(found["shares"]) == pytest.approx(1, abs=1e-3)  # two of two dimensions
    assert found["x"][1] * found["x"][0] < 0


def test_a_large_task_is_a_sample_drawn_by_the_seed_with_short_texts() -> None:
    documents = [f"w{i} w{i % 7} " + "x" * 200 for i in range(900)]
    task = retrieval([f"w{i}" for i in range(400)], documents, {i: {2 * i: 1} for i in range(400)})
    predictions = predictions_of(Words(), task, 0)
    found = projection_map(task, predictions, 0)[0]
    assert {len(found[key]) for key in ("x", "y", "group", "text")} == {MOST}
    assert (found["group"].count(0), found["group"].count(1), len(found["pairs"])) == (150, 150, 75)
    for i, j in found["pairs"]:
        query, document = found["text"][i], found["text"][j]
        assert document.startswith(f"w{2 * int(query[1:])} ")
    assert max(map(len, found["text"])) == 80
    assert projection_map(task, predictions, 0)[0] == found != projection_map(task, predictions, 1)[0]


def test_cells_are_shown_by_class_and_pairs_joined_where_they_are_the_same() -> None:
    model = Table({"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1], "d": [1, 1, 0], "e": [0, 1, 1]})
    task = labelled(["a", "b", "c"], [0, 1, 1], ["d", "e"], [0, 1])
    found = projection_map(task, predictions_of(model, task, 0), 0)[0]
    assert (found["text"], found["group"], found["pairs"]) == (["a", "b", "c"], [0, 1, 1], [])
    assert found["groups"] == task.classes
    both = pairs([1.0, 2.0, 1.0, 5.0])
    model = Table({"p": [1, 0], "q": [0, 1], "a": [1, 1], "b": [1, 2], "c": [2, 1]})
    drawn = projection_map(both, predictions_of(model, both, 0), 0)[0]
    assert ("".join(drawn["text"]), drawn["pairs"]) == ("pppqabcb", [[3, 7]])
    assert drawn["groups"] == ["first of a pair", "second of a pair"]


def test_fewer_than_three_points_are_no_map() -> None:
    model = Table({"p": [1, 0], "a": [0, 1]})
    assert evaluate(model, retrieval(["p"], ["a", ""], {0: {0: 1}}), resamples=5).projection_map == {}


def test_sample_searches_are_drawn_by_the_seed_whatever_their_success() -> None:
    documents = [f"w{i} text" for i in range(40)]
    task = retrieval([f"w{i}" for i in range(40)], documents, {i: {(i + i % 2) % 40: 1} for i in range(40)})
    report = evaluate(Words(256), task, resamples=5, seed=3)
    queries = [row["query"] for row in report.samples]
    assert queries == [f"w{i}" for i in np.sort(np.random.default_rng(3).choice(40, 3, replace=False))]
    for row in report.samples:
        i = int(row["query"][1:])
        assert len(row["found"]) == 3
        assert row["found"][0]["text"] == f"w{i} text"
        assert row["found"][0]["relevant"] is (i % 2 == 0)
        assert (row["rank"] == 1) is (i % 2 == 0)
        assert row["others"] == {"bm25": {"text": f"w{i} text", "score": pytest.approx(row["others"]["bm25"]["score"]),
                                          "relevant": i % 2 == 0}}  # fmt: skip
        assert row["found"][0]["score"] >= row["found"][1]["score"]
    assert evaluate(Words(256), task, resamples=5, baselines=[], seed=3).samples[0]["others"] == {}
