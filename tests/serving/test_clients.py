"""Clients of other projects that speak OpenAI's interface: LlamaIndex's and mteb's, without a change."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.serving.conftest import Make
from tests.serving.word_model import ServableWords

BASE = "http://testserver/v1"
TEXTS = ["a red fox runs", "the pig eats"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_llamaindexes_client_gets_a_querys_vector(client: TestClient, model: ServableWords) -> None:
    pytest.importorskip("llama_index.embeddings.openai", reason="llama-index-embeddings-openai is not installed")
    from llama_index.embeddings.openai import OpenAIEmbedding

    made: dict[str, Any] = {"api_base": BASE, "api_key": "none", "max_retries": 0, "http_client": client}
    queries = OpenAIEmbedding(model_name="words:query", **made)
    documents = OpenAIEmbedding(model_name="words:document", embed_batch_size=2, **made)
    query = model.embed(["a red fox"], "query")[0]
    assert np.allclose(queries.get_query_embedding("a red fox"), query, atol=1e-7)
    assert np.allclose(documents.get_text_embedding_batch([*TEXTS, "a"]), model.embed([*TEXTS, "a"], "key"), atol=1e-7)
    # LlamaIndex writes spaces for line ends, here as at OpenAI.
    assert np.allclose(documents.get_text_embedding("a red\nfox"), model.embed(["a red fox"], "key")[0], atol=1e-7)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_llamaindexes_client_asks_at_its_leisure(client: TestClient, model: ServableWords) -> None:
    pytest.importorskip("llama_index.embeddings.openai", reason="llama-index-embeddings-openai is not installed")
    import httpx
    from llama_index.embeddings.openai import OpenAIEmbedding

    async def asked() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app)) as over:
            api = OpenAIEmbedding(model_name="words:query", api_base=BASE, api_key="none", async_http_client=over)
            return await asyncio.gather(*(api.aget_query_embedding(text) for text in TEXTS))

    assert np.allclose(asyncio.run(asked()), model.embed(TEXTS, "query"), atol=1e-7)


class Letters:
    """What mteb asks of tiktoken, whose vocabulary would be downloaded: a token is a letter."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


@pytest.fixture
def in_mteb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a maker of mteb's model for OpenAI's interface. Only tiktoken's download is replaced, by `Letters`."""
    pytest.importorskip("mteb", reason="the extra mteb is not installed")
    openai = pytest.importorskip("openai")
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken, which mteb's model for OpenAI needs, is not installed")
    from mteb.models.model_implementations.openai_models import OpenAIModel

    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: Letters())

    def made(name: str, client: TestClient, dim: int, most: int = 100) -> Any:
        api = openai.OpenAI(api_key="none", base_url=BASE, http_client=client, max_retries=0)
        return OpenAIModel(f"nearfar/{name}", max_tokens=most, embed_dim=dim, client=api)

    return made


def encoded(model: Any, texts: list[str]) -> Any:
    return model.encode([{"text": texts}], task_metadata=None, hf_split="test", hf_subset="default")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mtebs_client_gets_a_querys_vector(in_mteb: Any, client: TestClient, model: ServableWords) -> None:
    found = encoded(in_mteb("words:query", client, model.dim), [*TEXTS, " "])
    assert np.allclose(found[:2], model.embed(TEXTS, "query"), atol=1e-7)
    assert not found[2].any()  # mteb's own way of an empty text
    short = encoded(in_mteb("words:document", client, model.dim, most=9), TEXTS)
    assert np.allclose(short, model.embed(["a red fox", "the pig e"], "key"), atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mtebs_client_gets_the_length_that_it_asks_for(in_mteb: Any, make: Make, model: ServableWords) -> None:
    model.notes["recipe"] = {"loss": {"name": "matryoshka", "dims": [16, 8]}}
    found = encoded(in_mteb("words:query", make(), 8), TEXTS)
    whole = model.embed(TEXTS, "query")[:, :8]
    assert np.allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
