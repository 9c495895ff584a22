"""mteb runs the model on made-up tasks: roles reach the model, and its figures are ours."""

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

TOPICS = ["near", "far", "fox", "goose", "lamp", "stone", "cloud", "garden"]
QUERIES = [f"what is {word}" for word in TOPICS]
DOCUMENTS = [f"{word} {word} is told of here" for word in TOPICS]


@pytest.fixture(scope="module")
def mteb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing it: its dependencies' deprecations
        return pytest.importorskip("mteb", reason="the extra mteb is not installed")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    towers = [Static(dim=64, vocabulary=300) for _ in range(2)]
    dual = Dual(*towers)
    dual.prepare([ListColumn("text", [*QUERIES, *DOCUMENTS])])
    return Model(dual, {"query": "ask ", "key": "tell "})


def task(mteb: Any, kind: Any, name: str, category: str, score: str) -> Any:
    """Return a task of a kind, with no data of its own yet."""
    told = {
        "name": name, "description": "made up", "reference": "https://example.org", "type": category,
        "category": "t2t", "modalities": ["text"], "eval_splits": ["test"], "eval_langs": ["eng-Latn"],
        "main_score": score, "dataset": {"path": "none/none", "revision": "1"},
        "date": ("2020-01-01", "2020-01-02"), "domains": ["Written"], "task_subtypes": [], "license": "cc0-1.0",
        "annotations_creators": "derived", "sample_creation": "created", "bibtex_citation": "",
    }  # fmt: skip
    made = type(name, (kind,), {"metadata": mteb.TaskMetadata(**told)})()
    made.data_loaded = True
    return made


@pytest.mark.filterwarnings("ignore")
def test_a_retrieval_task_asks_by_role(mteb: Any, model: Model) -> None:
    from datasets import Dataset

    made = task(mteb, mteb.abstasks.AbsTaskRetrieval, "NearFarRetrieval", "Retrieval", "ndcg_at_10")
    corpus = [{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(DOCUMENTS)]
    queries = [{"id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)]
    near = {f"q{i}": {f"d{i}": 1} for i in range(len(QUERIES))}
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": near,
        "top_ranked": None,
    }
    made.dataset = {"default": {"test": split}}
    asked: list[tuple[str | None, int]] = []
    embed = model.embed
    model.embed = lambda cells, role=None: asked.append((role, len(cells))) or embed(cells, role)  # type: ignore
    told = mteb.evaluate(MtebEncoder(model), made, cache=None, show_progress_bar=False, co2_tracker=False)
    found = told.task_results[0].scores["test"][0]["main_score"]
    assert set(asked) == {("query", len(QUERIES)), ("key", len(DOCUMENTS))}
    order = np.argsort(-(embed(QUERIES, "query") @ embed(DOCUMENTS, "key").T), axis=1)
    rank = np.argmax(order == np.arange(len(QUERIES))[:, None], axis=1)
    assert found == pytest.approx(float(np.mean(1 / np.log2(rank + 2))), abs=1e-5)
    assert told.model_revision == model.fingerprint


@pytest.mark.filterwarnings("ignore")
def test_a_similarity_task_has_no_role(mteb: Any, model: Model) -> None:
    from datasets import Dataset
    from scipy.stats import spearmanr

    made = task(mteb, mteb.abstasks.AbsTaskSTS, "NearFarSTS", "STS", "cosine_spearman")
    made.min_score, made.max_score = 0, 7
    rows = [{"sentence1": a, "sentence2": DOCUMENTS[i // 2], "score": i} for i, a in enumerate(QUERIES)]
    made.dataset = {"test": Dataset.from_list(rows)}
    told = mteb.evaluate(MtebEncoder(model), made, cache=None, show_progress_bar=False, co2_tracker=False)
    a, b = (model.embed([row[key] for row in rows]) for key in ("sentence1", "sentence2"))
    expected = spearmanr((a * b).sum(1), [row["score"] for row in rows]).statistic
    assert told.task_results[0].scores["test"][0]["main_score"] == pytest.approx(expected, abs=1e-5)


def test_empty_texts_are_near_nothing_and_pictures_are_refused(mteb: Any, model: Model) -> None:
    encoder, about = MtebEncoder(model), SimpleNamespace(name="made up")
    facts: Any = {"task_metadata": about, "hf_split": "test", "hf_subset": "default"}
    found = encoder.encode([{"text": ["near", " "]}, {"text": ["far"]}], prompt_type="document", **facts)
    np.testing.assert_array_equal(found[[0, 2]], model.embed(["near", "far"], "key"))
    assert not found[1].any()
    assert encoder.similarity(found, found).shape == (3, 3)
    np.testing.assert_allclose(encoder.similarity_pairwise(found, found), [1, 0, 1], atol=1e-6)
    with pytest.raises(InputError, match="has no text"):
        encoder.encode([{"image": [0]}], **facts)
    with pytest.raises(InputError, match="owner/name"):
        MtebEncoder(model, "mine")


def test_it_keeps_their_protocol(mteb: Any, model: Model) -> None:
    from mteb.models import EncoderProtocol

    assert isinstance(MtebEncoder(model), EncoderProtocol)
