"""Pictures with several captions, in both directions: hits, ties, chance; and the modality gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.contracts import Predictions, Sample
from nearfar.encoders.dual import Dual
from nearfar.errors import InputError
from nearfar.evaluation.direction import key_to_query
from nearfar.evaluation.evaluate import evaluate
from nearfar.metrics.hit_rate import HitRate
from nearfar.metrics.modality_gap import ModalityGap
from nearfar.tasks import Retrieval, between_kinds
from nearfar.vectors.topk import topk
from tests.encoders.known_vectors import BLUE, GREEN, RED, KnownTexts, MeanColours
from tests.evaluation.models import retrieval

NAMES = ["hit_rate@1", "hit_rate@5", "hit_rate@10"]


def captions(pictures: int, each: int = 5) -> Retrieval:
    """Texts that look for pictures: `each` captions of every picture."""
    n = pictures * each
    texts = [f"caption {i}" for i in range(n)]
    of = [i // each for i in range(n)]
    return retrieval(texts, [f"picture {i}" for i in range(pictures)], {i: {of[i]: 1} for i in range(n)}, of)


def hits(task: Retrieval, queries: Any, documents: Any, **more: Any) -> dict[str, Any]:
    ranking = topk(np.asarray(queries, np.float32), np.asarray(documents, np.float32), 1000)
    return HitRate(**more)(task, Predictions(ranking=ranking))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(2, 30), st.integers(0, 9999))
def test_values_equal_the_definition_with_ties(q: int, m: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (q, m)).astype(np.float32)  # ties abound
    relevant = [set(random.choice(m, random.integers(1, min(m, 6) + 1), replace=False).tolist()) for _ in range(q)]
    task = retrieval(["q"] * q, ["d"] * m, {i: dict.fromkeys(rows, 1) for i, rows in enumerate(relevant)})
    found = hits(task, scores, np.eye(m), depths=[1, 3])
    for query, rows in enumerate(relevant):
        best = max(scores[query, row] for row in rows)
        others = sum(score >= best for row, score in enumerate(scores[query]) if row not in rows)
        assert [found[f"hit_rate@{k}"][query] for k in (1, 3)] == [others < 1, others < 3]


def test_any_of_five_captions_is_a_hit_where_recall_counts_each() -> None:
    """A picture's first caption is right and its others lie elsewhere: R@1 of papers is 1, recall@1 is a fifth."""
    task = key_to_query(captions(20))
    assert (len(task.queries), len(task.documents), task.relevance[3]) == (20, 100, dict.fromkeys(range(15, 20), 1))
    documents = np.zeros((100, 40), np.float32)
    documents[np.arange(0, 100, 5), np.arange(20)] = 1
    documents[np.arange(100) % 5 > 0, 30] = 1
    ranking = topk(np.eye(20, 40, dtype=np.float32), documents, 1000)
    made = Predictions(ranking=ranking)
    assert [float(values.mean()) for values in HitRate()(task, made).values()] == [1, 1, 1]
    assert nf.metrics.Retrieval()(task, made)["recall@1"].mean() == pytest.approx(0.2)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_collapsed_model_is_not_above_chance(reverse: bool) -> None:
    """All documents are as near: they are ranked against it, in whatever order they stand."""
    task = key_to_query(captions(40)) if reverse else captions(40)
    found = hits(task, np.ones((len(task.queries), 4)), np.ones((len(task.documents), 4)))
    assert [values.sum() for values in found.values()] == [0, 0, 0]
    few = retrieval(["q"], ["d"] * 6, {0: {5: 1}})
    assert [values.sum() for values in hits(few, np.ones((1, 4)), np.ones((6, 4))).values()] == [0, 0, 1]  # 10 of 6


def test_random_vectors_are_at_chance() -> None:
    random = np.random.default_rng(0)
    forward, backward = captions(300), key_to_query(captions(300))
    texts, pictures = random.normal(size=(1500, 64)), random.normal(size=(300, 64))
    to_pictures, to_texts = hits(forward, texts, pictures), hits(backward, pictures, texts)
    assert to_pictures["hit_rate@10"].mean() == pytest.approx(10 / 300, abs=0.015)
    assert to_texts["hit_rate@10"].mean() == pytest.approx(1 - (1 - 10 / 1500) ** 5, abs=0.03)


def test_documents_at_the_score_where_the_ranking_ends_may_be_before_a_relevant_one() -> None:
    task = retrieval(["q"], ["d"] * 30, {0: {0: 1}})
    whole = topk(np.ones((1, 2), np.float32), np.ones((30, 2), np.float32), 12)
    assert HitRate([10])(task, Predictions(ranking=whole))["hit_rate@10"].tolist() == [0]
    relevant = retrieval(["q"], ["d"] * 30, {0: dict.fromkeys(range(11), 1)})  # 19 others may come first
    assert HitRate([10])(relevant, Predictions(ranking=whole))["hit_rate@10"].tolist() == [0]


def test_a_task_in_the_other_direction() -> None:
    task = retrieval(["a", "b", "c"], ["x", "y", "z"], {0: {0: 2, 1: 0}, 1: {0: 1}, 2: {2: 1}}, [0, 0, 1])
    back = key_to_query(task)
    assert back.relevance == {0: {0: 2, 1: 1}, 1: {0: 0}, 2: {2: 1}}
    assert back.query_ids == task.document_ids and back.name == "small, key-to-query"
    assert len(set(back.clusters.tolist())) == 3
    same = retrieval(["a", "b"], ["x", "y", "z"], {0: {0: 1}, 1: {1: 1, 2: 1}}, [0, 0])
    assert len(set(key_to_query(same).clusters.tolist())) == 1  # all are of one cluster
    report = evaluate(_Table(), task, "hit_rate", baselines="none", resamples=10)
    assert set(NAMES) <= set(report.metrics)


class _Table:
    def embed(self, cells: list[Any], /, role: str | None = None) -> Any:
        return np.eye(6, dtype=np.float32)["abcxyz".index(cells[0]) :][: len(cells)]


def between() -> Retrieval:
    names = ["a tomato", "one leaf", "the sea"]
    documents = ListColumn("image", [RED, GREEN, BLUE] * 6)
    texts = ListColumn("text", [f"{name} {i}" for i in range(6) for name in names])
    ids, of = [str(i) for i in range(18)], {i: {j: 1 for j in range(18) if j % 3 == i % 3} for i in range(18)}
    return Retrieval("words", texts, documents, ids, ids, of, np.arange(18))


@pytest.mark.parametrize("picture_side", ["query", "key"])
def test_both_directions_are_judged_whichever_side_reads_pictures(picture_side: str) -> None:
    texts = KnownTexts({"tomato": [1, 0, 0], "leaf": [0, 1, 0], "sea": [0, 0.6, 0.8]})
    pictures = MeanColours()
    model = nf.Model(Dual(pictures, texts) if picture_side == "query" else Dual(texts, pictures))
    task = between()
    assert between_kinds(task)
    for one, kinds in ((task, ("text", "image")), (key_to_query(task), ("image", "text"))):
        report = evaluate(model, one, resamples=100)
        assert report.metrics["hit_rate@1"] == 1
        assert report.metrics["recall@1"] == pytest.approx(1 / 6)
        assert report.metrics["modality_gap"] == pytest.approx(np.hypot(0.6, 0.2) / 3, abs=1e-6)
        assert report.protocol["kinds"] == dict(zip(("queries", "documents"), kinds))
        assert report.protocol["relevant documents of a query"] == {"least": 6, "mean": 6.0, "most": 6}
        assert report.projection_map["groups"] == [f"queries ({kinds[0]})", f"documents ({kinds[1]})"]
        texts_by = "key" if picture_side == "query" else "query"
        sides = {"text": texts_by, "image": picture_side}
        assert report.protocol["model"]["sides"] == {
            "queries": f"the {sides[kinds[0]]} side",
            "documents": f"the {sides[kinds[1]]} side",
        }


def test_the_gap_is_the_distance_of_the_centres() -> None:
    x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    task = captions(2, 1)
    sample = Sample(torch.cat([x, y]), x, y)
    assert ModalityGap()(task, Predictions(sample=sample)) == {"modality_gap": pytest.approx(1.0)}
    assert ModalityGap()(task, Predictions(sample=Sample(x, x, x))) == {"modality_gap": 0.0}
    assert np.isnan(ModalityGap()(task, Predictions(sample=Sample(x, x[:0], x[:0])))["modality_gap"])


def test_texts_among_texts_have_neither_unless_they_are_named() -> None:
    task = captions(4)
    assert not between_kinds(task)
    assert not {*NAMES, "modality_gap"} & set(evaluate(_Words(), task, baselines="none", resamples=10).metrics)


class _Words:
    def embed(self, cells: list[Any], /, role: str | None = None) -> Any:
        vectors = np.array([[1.0, *(ord(letter) % 7 for letter in cell[-3:])] for cell in cells], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("depths", [[], [0], [1, 1]])
def test_depths_out_of_range_are_refused(depths: list[int]) -> None:
    with pytest.raises(InputError, match=r"hit_rate\.depths"):
        HitRate(depths)


def test_a_ranking_of_another_task_is_refused() -> None:
    task = captions(20)
    for q, k, says in ((3, 10, "has 3 queries"), (100, 4, "4 deep; give 10")):
        ranking = topk(np.ones((q, 2), np.float32), np.ones((20, 2), np.float32), k)
        with pytest.raises(InputError, match=says):
            HitRate()(task, Predictions(ranking=ranking))
