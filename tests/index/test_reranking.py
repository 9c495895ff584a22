"""Reranking: the best rows are ordered by a scorer of pairs, and what cannot be scored is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.index.index import Index
from tests.encoders.cross_encoder import tiny
from tests.index.word_model import WordModel

TEXTS = {f"k{n}": f"k {n} {'0123456789'[n % 10]}" for n in range(12)}


def by_length(queries: list[str], texts: list[str]) -> Any:
    return np.array([len(query) + len(text) for query, text in zip(queries, texts)], np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", WordModel()) as index:
        index.add([{"id": name, "text": text, "even": i % 2 == 0} for i, (name, text) in enumerate(TEXTS.items())])
        yield index


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_cross_encoders_folder_orders_the_best(index: Index, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra rescore is not installed")
    from nearfar.encoders.pretrained.cross_encoder import CrossEncoder

    folder = tiny(tmp_path / "tiny")
    before = [hit.id for hit in index.search("k 3", k=8)]
    hits = index.search("k 3", k=5, rerank=folder, depth=8, explain=True)
    scores = dict(zip(before, CrossEncoder(folder)(["k 3"] * 8, [TEXTS[name] for name in before]).tolist()))
    assert [hit.id for hit in hits] == sorted(before, key=lambda name: (-scores[name], name))[:5]
    for rank, hit in enumerate(hits, 1):
        assert hit.score == pytest.approx(scores[hit.id], rel=1e-4)
        assert hit.explain["reranked"] == {"score": hit.score, "rank": rank, "before": before.index(hit.id) + 1}
        assert hit.explain["vectors"]["rank"] >= 1
    assert [hit.id for hit in index.search("k 3", k=5, rerank=str(folder), depth=8)] == [hit.id for hit in hits]


@pytest.mark.parametrize("mode", ["vectors", "words", "hybrid"])
def test_it_never_comes_short_and_reads_the_best_alone(index: Index, mode: Any) -> None:
    for k in (1, 3, 20):
        for depth in (1, 4, 50):
            best = {hit.id for hit in index.search("k 1", k=max(k, depth), mode=mode, where="even = true")}
            hits = index.search("k 1", k=k, mode=mode, where="even = true", rerank=by_length, depth=depth)
            assert len(hits) == min(k, len(best))
            assert {hit.id for hit in hits} <= best
            order = [(-hit.score, hit.id) for hit in hits]
            assert order == sorted(order)
            assert hits[0].score == max(len("k 1") + len(TEXTS[name]) for name in best)
            assert hits[0].explain is None


def test_several_queries_are_scored_in_one_call(index: Index) -> None:
    calls = []

    def score(queries: list[str], texts: list[str]) -> Any:
        calls.append(list(zip(queries, texts)))
        return [float(text == TEXTS["k7"]) + (query == "k 2") for query, text in calls[-1]]

    first, second = index.search(["k 1", "k 2"], k=2, rerank=score, depth=12)
    assert (first[0].id, first[0].score, second[0].id, second[0].score) == ("k7", 1.0, "k7", 2.0)
    assert first[1].id == min(set(TEXTS) - {"k7"})  # equal scores are in the order of ids
    assert len(calls) == 1
    assert len(calls[0]) == 24
    assert index.search("k 1", where="even is missing", rerank=by_length) == []
    assert index.search([], rerank=by_length) == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"rerank": "nowhere"}, "config.json is missing"),
        ({"rerank": 5}, "rerank is int"),
        ({"depth": 0}, "depth of a reranking must be"),
        ({"depth": 2.5}, "depth of a reranking must be"),
        ({"rerank": lambda q, t: np.full(len(q), np.nan)}, "as nan, which orders nothing"),
        ({"rerank": lambda q, t: np.full(len(q), np.inf)}, "as inf"),
        ({"rerank": lambda q, t: np.ones(3)}, "gives scores (3,) for 12 pairs"),
        ({"rerank": lambda q, t: [[1.0], [1.0, 2.0]]}, "gives no scores of pairs"),
        ({"query": np.ones(16, np.float32)}, "query 1 is ndarray, and a reranker reads texts"),
        ({"query": None, "like": "k1"}, "like= has no words"),
    ],
)
def test_what_cannot_be_reranked_is_refused(index: Index, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        index.search(**{"query": "k 1", "rerank": by_length, **asked})
    assert words in str(error.value)


def test_a_row_without_a_text_is_named_with_the_fix(index: Index) -> None:
    index.add([{"id": "photo", "image": np.zeros((2, 2, 3), np.uint8), "kind": "picture"}])
    with pytest.raises(InputError, match=r"row 'photo' was found and has no text.*by a filter"):
        index.search("k 1", k=13, rerank=by_length)
    assert len(index.search("k 1", k=13, rerank=by_length, where="kind is missing")) == 12


def test_a_random_cross_encoders_scores_that_are_no_numbers_are_refused(index: Index, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra rescore is not installed")
    from safetensors.torch import load_file, save_file

    folder = tiny(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    with pytest.raises(InputError, match="as nan"):
        index.search("k 1", rerank=folder)
