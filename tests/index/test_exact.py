"""Exact search over texts, rows and columns."""

from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.index.exact import search
from nearfar.text.bm25 import Bm25
from nearfar.vectors import embed
from tests.evaluation.models import Table, Words

MODEL = Table({"p": [1, 0], "q": [0, 1], "a": [1, 0.1], "b": [0.1, 1], "c": [1, 0.5], "the b": [0, 2]})


def test_the_nearest_come_first() -> None:
    hits = search(MODEL, ["b", "c", "a"], "p", k=2)
    assert hits == [
        {"id": 2, "score": pytest.approx(1 / np.sqrt(1.01)), "text": "a"},
        {"id": 1, "score": pytest.approx(1 / np.sqrt(1.25)), "text": "c"},
    ]
    assert all(type(hit["id"]) is int and type(hit["score"]) is float for hit in hits)


def test_a_list_of_queries_has_a_list_of_lists() -> None:
    hits = search(MODEL, ["b", "c", "a"], ["p", "q"], k=1)
    assert [[hit["text"] for hit in row] for row in hits] == [["a"], ["b"]]
    assert search(MODEL, ["a"], []) == []
    assert len(search(MODEL, ["a", "b"], "p", k=99)) == 2


def test_rows_have_ids_and_titles() -> None:
    corpus: list[dict[str, Any]] = [
        {"_id": "x", "title": "the", "text": "b"},
        {"id": 7, "text": "a", "title": None},
        {"text": "c"},
    ]
    hits = search(MODEL, corpus, "q", k=3)
    assert [(hit["id"], hit["text"]) for hit in hits] == [("x", "the b"), (2, "c"), (7, "a")]
    assert [hit["id"] for hit in search(MODEL, ListColumn("text", ["a", "b"]), "q", k=1)] == [1]


def test_empty_documents_are_never_found_and_equal_ones_stay_in_order() -> None:
    hits = search(MODEL, ["", "b", " ", "a", "b", "a"], "q", k=9)
    assert [hit["id"] for hit in hits] == [1, 4, 3, 5]


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    corpus = [" ".join(generator.choice(list("abcdefgh"), size)) for size in generator.integers(0, 5, 60)]
    in_one_slice = search(Words(16), corpus, ["a b", "c"], k=20)
    monkeypatch.setattr(embed, "SLICE", 7)
    model = Words(16)
    parts = search(model, corpus, ["a b", "c"], k=20)
    assert [[hit["id"] for hit in row] for row in parts] == [[hit["id"] for hit in row] for row in in_one_slice]
    assert max(len(cells) for role, cells in model.calls if role == "key") <= 7


def test_bad_input_is_an_error() -> None:
    for wrong in ("", "  ", ["p", ""], [3]):
        with pytest.raises(InputError, match=r"query \d is empty or no text"):
            search(MODEL, ["a"], wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the corpus is one text"):
        search(MODEL, "a", "p")
    for nothing in ([], ["", " "]):
        with pytest.raises(InputError, match="documents of the corpus are empty"):
            search(MODEL, nothing, "p")
    with pytest.raises(InputError, match="document 2 of the corpus is no text and no row with 'text'"):
        search(MODEL, [{"text": "a"}, {"body": "b"}], "p")
    with pytest.raises(InputError, match="k must be at least 1"):
        search(MODEL, ["a"], "p", k=0)


def test_by_words_only_documents_that_share_one_are_found() -> None:
    corpus = ["", "a red fox", "the goose", "a fox and a fox"]
    hits = search(MODEL, corpus, ["fox", "heron"], k=9, mode="words")
    assert [[hit["id"] for hit in row] for row in hits] == [[3, 1], []]
    expected = Bm25(corpus).score_all(["fox"])[0]
    assert [hit["score"] for hit in hits[0]] == pytest.approx([expected[3], expected[1]])


def test_the_hybrid_is_the_fusion_of_both_rankings() -> None:
    model = Table({"p": [1, 0], "a": [1, 0.1], "p b": [0.1, 1], "c": [1, 0.5]})
    hits = search(model, ["", "c", "p b", "a"], "p", k=2, mode="hybrid")
    # By vectors a, c, "p b"; by words "p b" alone, which is third and first.
    assert [(hit["id"], hit["text"]) for hit in hits] == [(2, "p b"), (3, "a")]
    assert [hit["score"] for hit in hits] == pytest.approx([1 / 61 + 1 / 63, 1 / 61])


def test_words_need_texts_and_a_mode_has_a_name() -> None:
    with pytest.raises(InputError, match="no mode 'word'; did you mean 'words'"):
        search(MODEL, ["a"], "p", mode="word")  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"hybrid reads texts, not .*vector.*; take mode 'vectors'"):
        search(MODEL, [np.ones(2, np.float32)], "p", mode="hybrid")
    with pytest.raises(InputError, match="all 2 documents of the corpus are empty"):
        search(MODEL, ["", " "], "p", mode="words")
