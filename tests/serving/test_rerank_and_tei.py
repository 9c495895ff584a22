"""Cohere's reranking and the interface of Text Embeddings Inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nearfar.serving.service import Reranker
from tests.serving.conftest import Make
from tests.serving.word_model import LONGEST, ServableWords

DOCUMENTS = ["the pig eats", "a red hen sits", "a red fox runs"]


def by_length(queries: list[str], texts: list[str]) -> Any:
    return np.array([len(text) for text in texts], np.float32)


def reranked(client: TestClient, version: str = "v2", status: int = 200, **fields: Any) -> Any:
    answer = client.post(f"/{version}/rerank", json={"query": "a red fox", "documents": DOCUMENTS, **fields})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_model_orders_documents_by_cosine_and_says_so(client: TestClient, model: ServableWords) -> None:
    found = reranked(client, model="words")
    cosines = model.embed(DOCUMENTS, "key") @ model.embed(["a red fox"], "query")[0]
    order = np.argsort(-cosines)
    assert [result["index"] for result in found["results"]] == order.tolist()
    assert np.allclose([result["relevance_score"] for result in found["results"]], cosines[order], atol=1e-6)
    assert found["model"] == "words:cosine"
    assert reranked(client, top_n=1)["results"] == found["results"][:1]


def test_the_first_version_takes_objects_and_gives_texts_back(client: TestClient) -> None:
    objects = [{"text": text} for text in DOCUMENTS]
    found = reranked(client, "v1", documents=[*objects, "a text"], return_documents=True)
    assert found["results"][0]["document"] == {"text": DOCUMENTS[found["results"][0]["index"]]}
    assert found["meta"]["api_version"] == {"version": "1"}
    assert "document" not in reranked(client, "v1", documents=objects)["results"][0]


def test_a_cross_encoder_is_the_usual_reranker(make: Make) -> None:
    client = make(reranker=Reranker("by-length", by_length))
    found = reranked(client)
    assert found["model"] == "by-length"
    assert [result["relevance_score"] for result in found["results"]] == [14, 14, 12]
    assert [result["index"] for result in found["results"]] == [1, 2, 0]
    assert reranked(client, model="words")["model"] == "words:cosine"
    assert reranked(client, status=404, model="other")["error"]["code"] == "model_not_found"


def test_a_cross_encoder_that_fails_is_a_fixed_text(make: Make) -> None:
    def broken(queries: list[str], texts: list[str]) -> Any:
        raise RuntimeError("/secret/path is broken")

    client = make(reranker=Reranker("broken", broken))
    assert "secret" not in str(reranked(client, status=500))
    assert reranked(client, model="words")["model"] == "words:cosine"  # the thread lives


@pytest.mark.filterwarnings("ignore:You should not use the 'timeout'", "ignore::DeprecationWarning")
def test_coheres_client_needs_no_change(client: TestClient) -> None:
    cohere = pytest.importorskip("cohere")
    api = cohere.ClientV2(api_key="none", base_url="http://testserver", httpx_client=client)
    found = api.rerank(model="words", query="a red fox", documents=DOCUMENTS, top_n=2)
    assert [result.index for result in found.results] == [2, 1]


def test_teis_embed_and_info(client: TestClient, model: ServableWords) -> None:
    several = client.post("/embed", json={"inputs": ["a red fox", "a hen"], "prompt_name": "query"})
    assert np.array_equal(np.array(several.json(), np.float32), model.embed(["a red fox", "a hen"], "query"))
    assert several.headers["X-Nearfar-Role"] == "query"
    assert len(client.post("/embed", json={"inputs": "a red fox"}).json()) == 1
    info = client.get("/info").json()
    assert (info["model_id"], info["model_sha"]) == ("words", model.fingerprint)
    assert info["max_input_length"] == LONGEST


def test_tei_truncates_where_it_is_asked_for(client: TestClient) -> None:
    texts = ["a", "word " * (LONGEST + 1)]
    refused = client.post("/embed", json={"inputs": texts})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert client.post("/embed", json={"inputs": texts, "truncate": True}).headers["X-Nearfar-Truncated"] == "1"
    assert client.post("/embed", json={"inputs": "a", "normalize": False}).status_code == 400


def test_only_the_first_tokens_of_a_document_are_read(make: Make, model: ServableWords) -> None:
    cut, whole = ["the pig", "a red", "a red"], reranked(make(), max_tokens_per_doc=4)
    assert whole == reranked(make())
    found = reranked(make(), max_tokens_per_doc=2)["results"]
    cosines = model.embed(cut, "key") @ model.embed(["a red fox"], "query")[0]
    assert np.allclose([result["relevance_score"] for result in sorted(found, key=lambda one: one["index"])], cosines)
    long = ["word " * (LONGEST + 1)]
    assert reranked(make(), status=400, documents=long)["error"]["code"] == "context_length_exceeded"
    assert reranked(make(), documents=long, max_tokens_per_doc=LONGEST - 1)["results"]


def test_first_tokens_are_counted_by_the_cross_encoder_where_it_can(make: Make) -> None:
    class Counting:
        def __call__(self, queries: list[str], texts: list[str]) -> Any:
            return by_length(queries, texts)

        def lengths(self, texts: list[str]) -> Any:
            return np.array([2 + len(text.split()) for text in texts], np.int64)

    found = reranked(make(reranker=Reranker("counting", Counting())), max_tokens_per_doc=2)
    assert [(one["index"], one["relevance_score"]) for one in found["results"]] == [(0, 8), (1, 6), (2, 6)]
    error = reranked(make(reranker=Reranker("by-length", by_length)), status=400, max_tokens_per_doc=2)["error"]
    assert error["param"] == "max_tokens_per_doc"
    assert "leave it out" in error["message"]


@pytest.mark.parametrize("name", ["max_chunks_per_doc", "rank_fields", "relevant_spans"])
def test_what_would_change_the_scores_and_is_not_known_is_refused_by_name(client: TestClient, name: str) -> None:
    for version in ("v1", "v2"):
        assert name in reranked(client, version, status=400, **{name: 10})["error"]["message"]
    unset: dict[str, Any] = {name: None}
    assert reranked(client, **unset)["results"]
