"""TeacherScores: the teacher beside its naive form in float64, what is never listed, and a student that learns it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar import config
from nearfar.column import ListColumn
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.errors import InputError
from nearfar.losses.distill import Distill
from nearfar.positives.teacher_scores import TeacherScores
from nearfar.text.bm25 import Bm25
from nearfar.training.fit import fit
from tests.encoders.tiny import WORDS, tiny

DRAW = np.random.default_rng(0)
TEXTS = [" ".join(f"{DRAW.choice(WORDS)}{DRAW.integers(9)}" for _ in range(40)) for _ in range(30)]  # no span twice


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def static(dim: int = 12) -> Any:
    encoder = nf.encoders.Static(dim=dim, vocabulary=300)
    encoder.prepare([ListColumn("text", TEXTS)])
    return encoder


def taught(texts: list[str] = TEXTS, **more: Any) -> TeacherScores:
    return TeacherScores(nf.data.Table([{"text": text} for text in texts]), static(), **{"per_document": 2, **more})


def scores(found: TeacherScores, texts: list[str], words: float) -> np.ndarray[Any, Any]:
    """Every question's score of every document, said plainly, in float64."""
    questions = found.views["query"].read(0, len(found))
    model = nf.Model(static())
    near = np.float64(model.embed(questions)) @ np.float64(model.embed(texts)).T
    bm25 = Bm25(texts, stop_words=True, stemming=True)
    said = np.stack([bm25.score([q] * len(texts), np.arange(len(texts))) for q in questions]).astype(np.float64)

    def z(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        spread = x.std(1, keepdims=True)
        return (x - x.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)

    return z(near) + words * z(said)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(0, 40), st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, 9))
def test_known_is_what_the_naive_teacher_says(neighbours: int, others: int, words: float, seed: int) -> None:
    found = taught(neighbours=neighbours, others=others, lexical_weight=words, seed=seed)
    assert 2 * len(TEXTS) - 3 <= len(found) <= 2 * len(TEXTS)  # a question drawn twice is asked once
    examples = np.random.default_rng(seed).permutation(len(found))[:7]
    batch = found.batch(examples)
    known, keys = batch.pairs.known, batch.rows["key"]
    assert known is not None
    expected = scores(found, TEXTS, words)
    for i, example in enumerate(examples.tolist()):
        own = found.own[example]
        assert found.views["query"].read(example, example + 1)[0] in TEXTS[own]
        assert batch.positive_index is not None
        assert keys[batch.positive_index[i]] == own
        mine = known.rows == i
        listed = keys[known.columns[mine].numpy()]
        wanted = expected[example, listed]
        np.testing.assert_allclose(known.weight[mine], wanted - wanted.min(), atol=2e-3)
        far = np.delete(expected[example], own)
        fewest = min(neighbours, len(far))
        assert own not in listed
        assert len(set(listed.tolist())) >= fewest
        best = np.sort(far)[-fewest:]
        assert set(listed.tolist()) >= set(found.others.tolist()) - {own}
        for place in np.flatnonzero(expected[example] > best[0] + 2e-3).tolist():
            assert place == own or place in listed  # of the nearest none is missing


def test_copies_and_passages_of_the_own_document_are_neither_near_nor_far() -> None:
    texts = [*TEXTS, TEXTS[0], TEXTS[1]]
    found = taught(texts, neighbours=31)
    assert len(found.rows) == len(TEXTS)  # a copy is no document of its own
    long = [" ".join(TEXTS[i : i + 5]) for i in range(0, 30, 5)]
    passages = taught(long, chunk=14, neighbours=40, others=40)
    batch = passages.batch(np.arange(len(passages)))
    known = batch.pairs.known
    assert known is not None
    whose = {int(row): int(document) for row, document in zip(passages.rows, passages.whole)}
    documents = np.array([whose[int(row)] for row in batch.rows["key"]])
    asked = passages.whole[passages.own]
    assert not (asked[known.rows.numpy()] == documents[known.columns.numpy()]).any()
    for told in passages.describe(np.arange(len(passages))):
        assert told["query"] in long[told["row"] - 1]


def test_questions_are_spread_over_documents_and_their_number_is_bounded() -> None:
    found = taught(examples=40, per_document=3)
    assert len(found) == 40
    assert np.bincount(found.own, minlength=len(TEXTS)).max() == 2
    assert np.bincount(found.own, minlength=len(TEXTS)).min() == 1
    assert taught(seed=1).fingerprint != taught(seed=2).fingerprint
    assert taught(lexical_weight=1).fingerprint != taught(lexical_weight=2).fingerprint
    again = found.describe(np.array([3]))[0]
    assert again["query"] in TEXTS[found.own[3]]
    assert again["key"] in TEXTS


def test_a_question_of_two_documents_is_asked_once() -> None:
    texts = [f"always the same words {i}" for i in range(12)]
    found = taught(texts, per_document=9, query=nf.augmentations.TextSpan(2, 2))
    questions = found.views["query"].read(0, len(found))
    assert len(questions) == len(set(questions)) == len(found.own)
    for question, own in zip(questions, found.own.tolist()):
        assert question in texts[own]


def test_a_view_that_makes_both_sides_asks_by_one() -> None:
    texts = [f"One says {i}. Two says {i + 50}. Three says {i + 100}." for i in range(12)]
    rows = nf.data.Table([{"text": text} for text in texts], heldout=3)
    task = TeacherScores(rows, static(), query=nf.augmentations.TextCloze()).task("heldout")
    assert len(task.queries) == 3


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: taught([" ".join(TEXTS)], chunk=20), "1 different documents leave nothing"),
        (lambda: taught(TEXTS[:2]), "2 different documents leave nothing"),
        (lambda: taught(neighbours=0), "neighbours must be at least 1"),
        (lambda: taught(per_document=0), "per_document must be at least 1"),
        (lambda: taught(lexical_weight=-1), "lexical_weight must be at least 0"),
        (lambda: taught(lexical_weight=float("inf")), "lexical_weight must be at least 0, and a number"),
        (lambda: taught(others=-1), "others must be at least 0"),
        (lambda: taught(lexical_weight=float("nan")), "lexical_weight must be at least 0"),
        (lambda: taught(column="txt"), r"positives\.column: no column 'txt'"),
    ],
)
def test_what_cannot_be_is_refused(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()


def recipe(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    tiny("bert").save(folder / "tiny")
    given = [f"data.path={path}", "data.heldout=5", f"encoder.of.model={folder / 'tiny'}", "encoder.of.max_length=null"]
    small = ["positives.per_document=4", "training.batch_size=16", "training.learning_rate=0.01", "training.epochs=20"]
    return config.load("adapt", [*given, *small])


def test_the_recipe_learns_the_teacher_and_leaves_the_inner_encoder_alone(tmp_path: Path) -> None:
    parts = config.build(recipe(tmp_path))
    assert isinstance(parts.encoder, FrozenProjection)
    before = {name: weight.clone() for name, weight in parts.encoder.of.state_dict().items()}

    def loss() -> float:
        batch = parts.positives.batch(np.arange(40))
        store = {view: parts.encoder.store(column) for view, column in parts.positives.views.items()}
        with torch.no_grad():
            sides = [torch.nn.functional.normalize(parts.encoder(store[v][batch.rows[v]]), dim=1) for v in store]
        return float(Distill()(sides[0], sides[1], batch.pairs))

    first = loss()
    run = fit(parts.encoder, parts.positives, parts.loss, out=tmp_path / "run", quiet=True, **parts.training)
    assert loss() < 0.8 * first
    for name, weight in parts.encoder.of.state_dict().items():
        assert torch.equal(weight, before[name]), name
    again = nf.Model.load(tmp_path / "run" / "model")
    np.testing.assert_allclose(again.embed(TEXTS), run.model.embed(TEXTS), atol=1e-6)
