"""mteb runs the model on made-up tasks: roles reach the model, and its scores are those of nearfar."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.evaluation.mteb_encoder import MtebEncoder
from nearfar.model import Model

TOPICS = ["river", "field", "fox", "goose", "lamp", "stone", "cloud", "garden"]
QUERIES = [f"what is {word}" for word in TOPICS]
DOCUMENTS = [f"{word} {word} is described here" for word in TOPICS]


@pytest.fixture(scope="module")
def mteb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing it: its dependencies' deprecations
        return pytest.importorskip("mteb", reason="the extra mteb is not installed")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    dual = Dual(Static(dim=64, vocabulary=300), Static(dim=64, vocabulary=300))
    dual.prepare([ListColumn("text", [*QUERIES, *DOCUMENTS])])
    return Model(dual, {"query": "ask ", "key": "tell "})


def task(mteb: Any, kind: Any, name: str, category: str, score: str) -> Any:
    """Return a task of a kind, without data."""
    metadata = {
        "name": name, "description": "made up", "reference": "https://example.org", "type": category,
        "category": "t2t", "modalities": ["text"], "eval_splits": ["test"], "eval_langs": ["eng-Latn"],
        "main_score": score, "dataset": {"path": "none/none", "revision": "1"},
        "date": ("2020-01-01", "2020-01-02"), "domains": ["Written"], "task_subtypes": [], "license": "cc0-1.0",
        "annotations_creators": "derived", "sample_creation": "created", "bibtex_citation": "",
    }  # fmt: skip
    made = type(name, (kind,), {"metadata": mteb.TaskMetadata(**metadata)})()
    made.data_loaded = True
    return made


@pytest.mark.filterwarnings("ignore")
def test_a_retrieval_task_asks_by_role(mteb: Any, model: Model) -> None:
    from datasets import Dataset

    made = task(mteb, mteb.abstasks.AbsTaskRetrieval, "NearFarRetrieval", "Retrieval", "ndcg_at_10")
    corpus = [{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(DOCUMENTS)]
    queries = [{"id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)]
    relevant = {f"q{i}": {f"d{i}": 1} for i in range(len(QUERIES))}
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": relevant,
        "top_ranked": None,
    }
    made.dataset = {"default": {"test": split}}
    calls: list[tuple[str | None, int]] = []
    embed = model.embed
    model.embed = lambda cells, role=None: calls.append((role, len(cells))) or embed(cells, role)  # type: ignore
    result = mteb.evaluate(MtebEncoder(model), made, cache=None, show_progress_bar=False, co2_tracker=False)
    score = result.task_results[0].scores["test"][0]["main_score"]
    assert set(calls) == {("query", len(QUERIES)), ("key", len(DOCUMENTS))}
    order = np.argsort(-(embed(QUERIES, "query") @ embed(DOCUMENTS, "key").T), axis=1)
    rank = np.argmax(order == np.arange(len(QUERIES))[:, None], axis=1)
    assert score == pytest.approx(float(np.mean(1 / np.log2(rank + 2))), abs=1e-5)
    assert result.model_revision == model.fingerprint


@pytest.mark.filterwarnings("ignore")
def test_a_similarity_task_has_no_role(mteb: Any, model: Model) -> None:
    from datasets import Dataset
    from scipy.stats import spearmanr

    made = task(mteb, mteb.abstasks.AbsTaskSTS, "NearFarSTS", "STS", "cosine_spearman")
    made.min_score, made.max_score = 0, 7
    rows: list[dict[str, Any]] = [
        {"sentence1": a, "sentence2": DOCUMENTS[i // 2], "score": i} for i, a in enumerate(QUERIES)
    ]
    made.dataset = {"test": Dataset.from_list(rows)}
    result = mteb.evaluate(MtebEncoder(model), made, cache=None, show_progress_bar=False, co2_tracker=False)
    a, b = (model.embed([row[key] for row in rows]) for key in ("sentence1", "sentence2"))
    expected = spearmanr((a * b).sum(1), [row["score"] for row in rows]).statistic
    assert result.task_results[0].scores["test"][0]["main_score"] == pytest.approx(expected, abs=1e-5)


def test_empty_texts_have_zero_vectors_and_pictures_are_refused(mteb: Any, model: Model) -> None:
    encoder, about = MtebEncoder(model), SimpleNamespace(name="made up")
    arguments: Any = {"task_metadata": about, "hf_split": "test", "hf_subset": "default"}
    vectors = encoder.encode([{"text": ["river", " "]}, {"text": ["field"]}], prompt_type="document", **arguments)
    np.testing.assert_array_equal(vectors[[0, 2]], model.embed(["river", "field"], "key"))
    assert not vectors[1].any()
    assert encoder.similarity(vectors, vectors).shape == (3, 3)
    np.testing.assert_allclose(encoder.similarity_pairwise(vectors, vectors), [1, 0, 1], atol=1e-6)
    with pytest.raises(InputError, match="has no text"):
        encoder.encode([{"image": [0]}], **arguments)
    with pytest.raises(InputError, match="owner/name"):
        MtebEncoder(model, "model")


def test_it_keeps_their_protocol(mteb: Any, model: Model) -> None:
    from mteb.models import EncoderProtocol

    assert isinstance(MtebEncoder(model), EncoderProtocol)
