"""TeacherScores: the teacher against a naive form in float64, unlisted documents, and a student that learns."""

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
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import fit
from tests.encoders.tiny import WORDS, tiny

DRAW = np.random.default_rng(0)
# random words, so that no two spans are equal
TEXTS = [" ".join(f"{DRAW.choice(WORDS)}{DRAW.integers(9)}" for _ in range(40)) for _ in range(30)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def static(dim: int = 12) -> Any:
    encoder = nf.encoders.Static(dim=dim, vocabulary=300)
    encoder.prepare([ListColumn("text", TEXTS)])
    return encoder


def teacher_scores(texts: list[str] = TEXTS, **more: Any) -> TeacherScores:
    return TeacherScores(nf.data.Table([{"text": text} for text in texts]), static(), **{"per_document": 2, **more})


def scores(positives: TeacherScores, texts: list[str], lexical_weight: float) -> np.ndarray[Any, Any]:
    """Return the teacher's scores of all questions and documents, in float64."""
    questions = positives.views["query"].read(0, len(positives))
    model = nf.Model(static())
    cosine = model.embed(questions).astype(np.float64) @ model.embed(texts).astype(np.float64).T
    bm25 = Bm25(texts)
    lexical = np.stack([bm25.score([q] * len(texts), np.arange(len(texts))) for q in questions]).astype(np.float64)

    def z(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        spread = x.std(1, keepdims=True)
        standardised: np.ndarray[Any, Any] = (x - x.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
        return standardised

    return z(cosine) + lexical_weight * z(lexical)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(0, 40), st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, 9))
def test_known_holds_the_naive_teachers_scores(neighbours: int, others: int, weight: float, seed: int) -> None:
    positives = teacher_scores(neighbours=neighbours, others=others, lexical_weight=weight, seed=seed)
    assert 2 * len(TEXTS) - 3 <= len(positives) <= 2 * len(TEXTS)  # equal questions are one
    examples = np.random.default_rng(seed).permutation(len(positives))[:7]
    batch = positives.batch(examples)
    known, keys = batch.pairs.known, batch.rows["key"]
    assert known is not None
    expected = scores(positives, TEXTS, weight)
    for i, example in enumerate(examples.tolist()):
        source = positives.source[example]
        assert positives.views["query"].read(example, example + 1)[0] in TEXTS[source]
        assert batch.positive_index is not None
        assert keys[batch.positive_index[i]] == source
        of_example = known.rows == i
        listed = keys[known.columns[of_example].numpy()]
        wanted = expected[example, listed]
        np.testing.assert_allclose(known.weight[of_example], wanted - wanted.min(), atol=2e-3)
        of_others = np.delete(expected[example], source)
        fewest = min(neighbours, len(of_others))
        assert source not in listed
        assert len(set(listed.tolist())) >= fewest
        best = np.sort(of_others)[-fewest:]
        assert set(listed.tolist()) >= set(positives.others.tolist()) - {source}
        for place in np.flatnonzero(expected[example] > best[0] + 2e-3).tolist():
            assert place == source or place in listed  # none of the best is missing


def test_copies_and_passages_of_the_source_document_are_not_listed() -> None:
    texts = [*TEXTS, TEXTS[0], TEXTS[1]]
    positives = teacher_scores(texts, neighbours=31)
    assert len(positives.rows) == len(TEXTS)  # a copy is the same document
    long = [" ".join(TEXTS[i : i + 5]) for i in range(0, 30, 5)]
    passages = teacher_scores(long, chunk=14, neighbours=40, others=40)
    batch = passages.batch(np.arange(len(passages)))
    known = batch.pairs.known
    assert known is not None
    document_of_row = {int(row): int(document) for row, document in zip(passages.rows, passages.document_ids)}
    key_documents = np.array([document_of_row[int(row)] for row in batch.rows["key"]])
    query_documents = passages.document_ids[passages.source]
    assert not (query_documents[known.rows.numpy()] == key_documents[known.columns.numpy()]).any()
    for described in passages.describe(np.arange(len(passages))):
        assert described["query"] in long[described["row"] - 1]


def test_questions_are_spread_over_documents_and_their_number_is_bounded() -> None:
    positives = teacher_scores(examples=40, per_document=3)
    assert len(positives) == 40
    assert np.bincount(positives.source, minlength=len(TEXTS)).max() == 2
    assert np.bincount(positives.source, minlength=len(TEXTS)).min() == 1
    assert teacher_scores(seed=1).fingerprint != teacher_scores(seed=2).fingerprint
    assert teacher_scores(lexical_weight=1).fingerprint != teacher_scores(lexical_weight=2).fingerprint
    described = positives.describe(np.array([3]))[0]
    assert described["query"] in TEXTS[positives.source[3]]
    assert described["key"] in TEXTS


def test_equal_questions_of_two_documents_are_one() -> None:
    texts = [f"always the same words {i}" for i in range(12)]
    positives = teacher_scores(texts, per_document=9, query=nf.augmentations.TextSpan(2, 2))
    questions = positives.views["query"].read(0, len(positives))
    assert len(questions) == len(set(questions)) == len(positives.source)
    for question, source in zip(questions, positives.source.tolist()):
        assert question in texts[source]


def test_a_view_with_a_rest_draws_the_questions_of_a_task() -> None:
    texts = [f"One says {i}. Two says {i + 50}. Three says {i + 100}." for i in range(12)]
    rows = nf.data.Table([{"text": text} for text in texts], heldout=3)
    task = TeacherScores(rows, static(), query=nf.augmentations.TextCloze()).task("heldout")
    assert len(task.queries) == 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: teacher_scores([" ".join(TEXTS)], chunk=20),
            r"^positives \(teacher_scores\): 1 different documents leave nothing",
        ),
        (lambda: teacher_scores(TEXTS[:2]), "2 different documents leave nothing"),
        (lambda: teacher_scores(neighbours=0), r"^positives\.neighbours must be at least 1"),
        (lambda: teacher_scores(per_document=0), "per_document must be at least 1"),
        (lambda: teacher_scores(lexical_weight=-1), "lexical_weight must be at least 0"),
        (lambda: teacher_scores(lexical_weight=float("inf")), "lexical_weight must be at least 0, and a number"),
        (lambda: teacher_scores(others=-1), "others must be at least 0"),
        (lambda: teacher_scores(lexical_weight=float("nan")), "lexical_weight must be at least 0"),
        (lambda: teacher_scores(column="txt"), r"positives\.column: no column 'txt'"),
    ],
)
def test_invalid_settings_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def recipe(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    tiny("bert").save(folder / "tiny")
    given = [f"data.path={path}", "data.heldout=5", f"encoder.of.model={folder / 'tiny'}", "encoder.of.max_length=null"]
    small = ["positives.per_document=4", "training.batch_size=16", "training.learning_rate=0.01", "training.epochs=20"]
    return config.load("adapt", [*given, *small])


def test_the_recipe_learns_the_teachers_scores_and_keeps_the_inner_encoder_frozen(tmp_path: Path) -> None:
    parts = config.build(recipe(tmp_path))
    assert isinstance(parts.encoder, FrozenProjection)
    before = {name: weight.clone() for name, weight in parts.encoder.of.state_dict().items()}

    def loss() -> float:
        batch = parts.positives.batch(np.arange(40))
        store = {view: parts.encoder.store(column) for view, column in parts.positives.views.items()}
        with torch.no_grad():
            vectors = [torch.nn.functional.normalize(parts.encoder(store[v][batch.rows[v]]), dim=1) for v in store]
        return float(Distill()(vectors[0], vectors[1], batch.pairs))

    before_training = loss()
    run = fit(parts.encoder, parts.positives, parts.loss, out=tmp_path / "run", quiet=True, **parts.training)
    assert loss() < 0.8 * before_training
    for name, weight in parts.encoder.of.state_dict().items():
        assert torch.equal(weight, before[name]), name
    loaded = nf.Model.load(tmp_path / "run" / "model")
    np.testing.assert_allclose(loaded.embed(TEXTS), run.model.embed(TEXTS), atol=1e-6)


GERMAN = [f"Der Hund Nummer {i} schläft nicht in dem Garten, und die Katze {i + 1} ist auf dem Dach" for i in range(9)]


def test_the_teacher_stems_in_the_documents_language() -> None:
    stems, plain = teacher_scores(GERMAN), teacher_scores(GERMAN, lexical="bm25")
    assert stems.notes["teacher"] == "the encoder before training and BM25 (German stems, 231 stop words)"
    assert plain.notes["teacher"] == "the encoder before training and BM25 (no stems)"
    assert stems.fingerprint != plain.fingerprint
    unknown = "the encoder before training and BM25 (no stems: the language is not recognised)"
    assert teacher_scores().notes["teacher"] == unknown
    told = dry_run(static(), stems, Distill(), batch_size=4, device="cpu").facts["notes"]
    assert told == stems.notes
