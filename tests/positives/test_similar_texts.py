"""Texts near each other as positives with a weight: `Columns(similar=...)` against its naive form, entry by entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar import config, registry
from nearfar.abilities import prepare_batches
from nearfar.column import Aliases, ListColumn, content_id
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.sigmoid import Sigmoid
from nearfar.pairs import Pairs
from nearfar.positives.columns import Columns
from nearfar.positives.relations.unit_vectors import cosines
from tests.encoders.known_vectors import KnownTexts
from tests.losses.naive import relation
from tests.pictures.samples import noise
from tests.positives.test_columns import TABLE, table
from tests.training.runs import Rows

ABOVE = 0.3
LETTERS = "abcde"
VECTORS = np.random.default_rng(3).normal(size=(len(LETTERS), 3)) + 0.5
UNIT = dict(zip(LETTERS, VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True), strict=True))


class Texts(KnownTexts):
    """Texts of known vectors, that counts how many it encodes."""

    encoded = 0

    def identity(self) -> Iterator[tuple[str, Any]]:
        yield "table", str(self.table)

    def inputs(self, cells: Any) -> Any:
        self.encoded += len(cells)
        return super().inputs(cells)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def texts() -> Texts:
    return Texts({letter: vector.tolist() for letter, vector in UNIT.items()})


def naive_weights(
    queries: list[str], keys: list[str], texts_of: tuple[list[str], list[str | None]], b: int, related: torch.Tensor
) -> torch.Tensor:
    """Return the weights (n, m) of what is near, in float64: of the copies of a pair the largest.

    texts_of: the text of each query and key. related (n, m): what the table relates already.
    """
    own, other = texts_of
    p = np.zeros((len(own), len(other)))
    for i, left in enumerate(own):
        for j, right in enumerate(other):
            cosine = 0.0 if right is None else float(UNIT[left] @ UNIT[right])
            if cosine > ABOVE and not related[i, j]:
                p[i, j] = min((cosine - ABOVE) / (1 - ABOVE), 1)
    w = p / np.maximum(1, np.maximum(p.sum(1, keepdims=True), p.sum(0, keepdims=True)))
    largest = np.zeros_like(w)
    for i in range(len(own)):
        for j in range(len(other)):
            same = [
                (r, c)
                for r in range(len(own))
                for c in range(len(other))
                if (queries[r], keys[c]) == (queries[i], keys[j])
            ]
            largest[i, j] = max(w[pair] for pair in same)
    return torch.from_numpy(largest)


@settings(deadline=None, max_examples=60)
@given(TABLE, st.sampled_from(["query", "key"]), st.booleans(), st.booleans(), st.data())
def test_a_batch_has_the_weights_of_the_naive_form(
    rows: Any, by: Any, mines: bool, queues: bool, data: st.DataObject
) -> None:
    roles: dict[str, Any] = {"query": "query", "key": "pos", "negative": ["neg", "other"]}
    some = Columns(table(rows), **roles, similar=texts(), similar_above=ABOVE, similar_by=by)
    plain = Columns(table(rows), **roles)
    index = st.lists(st.integers(0, len(some) - 1), min_size=1, max_size=6)
    examples, queued = np.array(data.draw(index)), np.array(data.draw(index)) if queues else None
    if mines:
        cells = st.lists(st.integers(-1, len(some.views["key"]) - 1), min_size=1, max_size=1)
        mined = np.array(data.draw(st.lists(cells, min_size=len(some), max_size=len(some))))
        some, plain = some.with_negatives(mined), plain.with_negatives(mined)
    batch, before = some.batch(examples, queued), plain.batch(examples, queued)
    for view, cells_of_view in before.rows.items():
        assert cells_of_view.tolist() == batch.rows[view].tolist()
    queries = [some.views["query"].read(0, 99)[row] for row in batch.rows["query"]]
    found = [some.views[view].read(0, 99)[row] for view in some.key_views for row in batch.rows[view]]
    of_queue = [] if queued is None else [some.views["key"].read(0, 99)[c] for c in some.examples[queued, 2]]
    keys, b = found + of_queue, len(examples)
    if by == "key":
        of_keys: list[str | None] = list(keys)
        own = keys[:b]
    else:
        own = queries
        all_queries = some.views["query"].read(0, 99)
        first = {int(cell): all_queries[q] for _, q, cell in some.examples[::-1]}
        mined_texts = [first.get(int(cell), all_queries[0]) for cell in batch.rows["key"][b:]]
        negatives = [None] * (len(found) - b - len(mined_texts))
        queue_texts = [] if queued is None else [all_queries[q] for q in some.examples[queued, 1]]
        of_keys = [*queries, *mined_texts, *negatives, *queue_texts]
    weight, candidate = relation(before.pairs)
    related = (weight > 0) | ~candidate
    expected = naive_weights(queries, keys, (own, of_keys), b, related)
    got, got_candidate = relation(batch.pairs)
    torch.testing.assert_close(got, torch.where(related, weight.double(), expected), atol=1e-6, rtol=0)
    assert torch.equal(got_candidate, candidate)
    again = some.batch(examples, queued).pairs.known
    assert (again is None) == (batch.pairs.known is None)
    assert again is None or torch.equal(again.weight, batch.pairs.known.weight)  # type: ignore[union-attr]


def captions() -> tuple[Rows, list[str]]:
    """Return five captions of one picture and one each of two others, which two of the five are near to."""
    pictures = [noise(0)] * 5 + [noise(1), noise(2)]
    words = ["a 1", "b 2", "c 3", "d 4", "e 5", "a 6", "x"]
    return Rows(image=pictures, caption=words), words


def caption_texts() -> Texts:
    table = {letter: [1.0, 0.0, 0.0] if letter == "a" else [0.0, 1.0, 0.0] for letter in LETTERS}
    return Texts({**table, "x": [0.6, 0.0, 0.8]})


@pytest.mark.parametrize(("query", "key"), [("image", "caption"), ("caption", "image")])
def test_five_captions_of_a_picture_stay_its_positives_and_a_near_one_of_another_has_a_weight(
    query: str, key: str
) -> None:
    rows, _ = captions()
    near = Columns(rows, query, key, similar=caption_texts(), similar_above=0.5)
    weight, candidate = relation(near.batch(np.arange(7)).pairs)
    by_picture = weight if query == "image" else weight.T  # pictures by captions
    assert (by_picture[:5, :5] == 1).all()
    # "a 1" and "a 6" have one vector (p = 1); "x" has a cosine of 0.6 to both (p = 0.2). The row of "a 1" sums to 1.2.
    shared = 1 / 1.2
    if query == "image":  # the rows of the picture are copies, and what one of them is near to all are
        assert by_picture[:5, 5].tolist() == pytest.approx([shared] * 5)
        assert by_picture[:5, 6].tolist() == pytest.approx([0.2 / 1.2] * 5)
    else:
        assert by_picture[0, 5:].tolist() == pytest.approx([shared, 0.2 / 1.2])
    assert by_picture[5, 6] == pytest.approx(0.2 / 1.2)
    assert by_picture[5, 5] == by_picture[6, 6] == 1
    assert candidate.all()
    alone, _ = relation(near.batch(np.arange(5)).pairs)
    assert (alone == 1).all()


def loss_gradient(loss: Any, pairs: Pairs) -> torch.Tensor:
    n, m = pairs.shape
    keys = torch.rand(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss.double()(torch.eye(n, dtype=torch.float64), keys, pairs), keys)
    return gradient.T


@pytest.mark.parametrize("loss", [InfoNCE(1.0, symmetric=False), Sigmoid()], ids=["infonce", "sigmoid"])
def test_a_near_key_is_pushed_less_or_pulled(loss: Any) -> None:
    rows = Rows(query=["q 1", "q 2", "q 3", "q 4"], key=["a 1", "a 2", "x", "b"])
    plain, near = (Columns(rows, similar=encoder, similar_above=0.5) for encoder in (None, caption_texts()))
    before, after = (loss_gradient(loss, some.batch(np.arange(4)).pairs) for some in (plain, near))
    assert before[0, 1] > 0 > after[0, 1]  # of one vector: pulled
    assert after[0, 2] < before[0, 2]  # of a cosine of 0.6
    assert (after[:, 3][:3] > 0).all()  # of no cosine: pushed
    weight, _ = relation(near.batch(np.arange(4)).pairs)
    own = weight.diagonal()
    assert (weight.sum(1) - own <= own + 1e-6).all() and (weight.sum(0) - own <= own + 1e-6).all()


def test_equal_texts_are_positives_as_ever_and_decisions_hold(tmp_path: Path) -> None:
    rows = Rows(query=["q 1", "q 2", "q 3"], key=["a", "a", "a 2"])
    weight, _ = relation(Columns(rows, similar=caption_texts(), similar_above=0.5).batch(np.arange(3)).pairs)
    assert weight[0].tolist() == [1, 1, 0.5] == weight[1].tolist()  # "a 2" has a cosine of 1 to two
    path = tmp_path / "decisions.jsonl"
    path.write_text('{"query": "q 1", "negative": "a 2", "action": "drop"}\n')
    decided = Columns(rows, similar=caption_texts(), similar_above=0.5, decisions=path)
    weight, candidate = relation(decided.batch(np.arange(3)).pairs)
    assert weight[0, 2] == 0 and not candidate[0, 2]  # what people say comes first


def test_aliases_are_one_content_beside_near_texts() -> None:
    rows = Rows(query=["q 1", "q 2", "q 3"], key=["b 1", "B 1", "d 2"])
    some = Columns(rows, similar=Texts({"b": [1, 0, 0], "B": [0.8, 0.6, 0], "d": [1, 0, 0]}), similar_above=0.5)
    alike = some.with_aliases(Aliases.of({content_id("B 1"): content_id("b 1")}))
    weight, _ = relation(alike.batch(np.arange(3)).pairs)
    assert weight[0, 1] == weight[1, 0] == 1
    assert weight[2, 0] == weight[2, 1] == pytest.approx(1 / 1.6)  # copies of one key: the larger weight holds
    assert alike.fingerprint != some.fingerprint


def test_the_texts_are_embedded_once_and_cached() -> None:
    rows = Rows(query=["q 1", "q 2", "q 3"], key=["a", "a", "b"])
    first, second = caption_texts(), caption_texts()
    some = Columns(rows, similar=first)
    assert first.encoded == 0  # not before it is needed
    prepare_batches(some)
    some.batch(np.arange(3))
    some.batch(np.arange(2))
    assert first.encoded == 2  # each content once
    Columns(rows, similar=second).batch(np.arange(3))
    assert second.encoded == 0


def test_the_fingerprint_has_the_encoder_the_threshold_and_the_side() -> None:
    rows = Rows(query=["a", "b"], key=["c", "d"])
    other = Texts({letter: [1.0, 0.0, 0.0] for letter in LETTERS})
    made: list[dict[str, Any]] = [
        {},
        {"similar": texts()},
        {"similar": other},
        {"similar": texts(), "similar_above": 0.8},
        {"similar": texts(), "similar_by": "query"},
    ]
    assert len({Columns(rows, **more).fingerprint for more in made}) == len(made)
    assert Columns(rows, similar=texts()).fingerprint == Columns(rows, similar=texts()).fingerprint


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 400), st.integers(0, 9))
def test_cosines_are_the_same_to_the_last_bit_in_any_batch(n: int, d: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole, order = cosines(vectors, vectors), random.permutation(n)
    assert np.array_equal(cosines(vectors[order], vectors[order]), whole[np.ix_(order, order)])
    assert np.array_equal(whole, whole.T)
    assert all(cosines(vectors[i : i + 1], vectors[j : j + 1])[0, 0] == whole[i, j] for i in range(n) for j in range(n))
    np.testing.assert_allclose(whole, vectors.astype(np.float64) @ vectors.astype(np.float64).T, atol=3e-7)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"similar_above": 1.0}, "similar_above is a cosine"),
        ({"similar": nf.encoders.Static(dim=8, vocabulary=300)}, "random weights"),
        ({"similar_by": "image"}, "must be query or key"),
        ({"query": "image", "key": "other"}, "holds image"),
        ({"query": "image", "similar_by": "query"}, "holds image"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(more: dict[str, Any], words: str) -> None:
    rows = Rows(image=[noise(0), noise(1)], other=[noise(2), noise(3)], query=["a", "b"], key=["c", "d"])
    with pytest.raises(InputError, match=words):
        Columns(rows, **{"query": "query", "key": "key", "similar": texts(), **more})


def test_a_text_without_a_vector_is_named() -> None:
    rows = Rows(query=["a", "b"], key=["c", "zero"])
    with pytest.raises(InputError, match=r"column 'key': row 2 has no vector"):
        Columns(rows, similar=Texts({"c": [1, 0, 0], "zero": [0, 0, 0]})).batch(np.arange(2))


def test_a_recipe_names_the_text_encoder_and_trains(tmp_path: Path) -> None:
    static = nf.encoders.Static(dim=16, vocabulary=300)
    rows = [{"query": f"question {i} of {i % 7}", "key": f"answer {i} to {i % 7}"} for i in range(40)]
    static.prepare([ListColumn("text", [row["key"] for row in rows])])
    nf.Model(static).save(tmp_path / "texts")
    recipe: Any = {
        "data": {"name": "table", "path": str(tmp_path / "rows.jsonl")},
        "positives": {
            "name": "columns",
            "similar": {"name": "static", "model": str(tmp_path / "texts")},
            "similar_above": 0.1,
        },
        "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
        "loss": {"name": "infonce"},
        "training": {"steps": 3, "batch_size": 8, "queue": 8},
    }
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = config.build(recipe)
    assert registry.settings_of(parts.positives)["similar"]["name"] == "static"
    before = parts.positives.batch(np.arange(8)).pairs.known
    assert before is not None and ((before.weight > 0) & (before.weight < 1)).any()
    run = nf.fit(parts.encoder, parts.positives, parts.loss, out=tmp_path / "run", quiet=True, **parts.training)
    assert run.train_pairs_per_second > 0
