"""OpenAI's interface: shapes, errors, roles, and its own clients without a change."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.serving.conftest import Make
from tests.serving.word_model import LONGEST, ServableWords

LONG = "word " * (LONGEST + 1)


def asked(client: TestClient, status: int = 200, **fields: Any) -> Any:
    answer = client.post("/v1/embeddings", json={"model": "words", **fields})
    assert answer.status_code == status, answer.text
    return answer.json()


def error_of(client: TestClient, status: int = 400, **fields: Any) -> dict[str, Any]:
    body = asked(client, status, **fields)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found


def test_one_text_and_several_have_openais_shape(client: TestClient, model: ServableWords) -> None:
    one, two = asked(client, input="a red fox"), asked(client, input=["a red fox", "a hen"])
    assert {**one, "data": None} == {
        "object": "list",
        "data": None,
        "model": "words",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert [(row["object"], row["index"], sorted(row)) for row in two["data"]] == [
        ("embedding", i, ["embedding", "index", "object"]) for i in range(2)
    ]
    found = np.array([row["embedding"] for row in two["data"]], np.float32)
    assert np.array_equal(found, model.of.embed(["a red fox", "a hen"]))
    assert one["data"][0] == two["data"][0]


def test_base64_is_the_same_float32(client: TestClient) -> None:
    plain = asked(client, input=["a red fox", "a hen"])
    packed = asked(client, input=["a red fox", "a hen"], encoding_format="base64")
    for row, other in zip(plain["data"], packed["data"], strict=True):
        given = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        assert np.array_equal(given, np.array(row["embedding"], np.float32))


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": []}, "input", "at least 1"),
        ({"input": ""}, "input", "at least 1"),
        ({"input": ["a", " \t"]}, "input.1", "match"),
        ({"input": [1, 2]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": ["a"] * 2049}, "input", "2048"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "base64"),
        ({"input": "a", "dimensions": 8}, "dimensions", "not trained to be cut to 8"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "a", "input_type": "passage"}, "input_type", "search_document"),
        ({"input": ["a", LONG]}, "input", "input.1: has more than the 24 tokens"),
        ({"input": ["a", "zero"]}, "input", "input.1: has no vector"),
        ({"model": "words:query", "input": "a", "input_type": "document"}, "input_type", "different roles"),
        ({}, "input", "required"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    client: TestClient, fields: dict[str, Any], param: str, words: str
) -> None:
    error = error_of(client, **fields)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_what_is_no_json_and_what_is_not_there(client: TestClient) -> None:
    for content in (b"{", b"[" * 20_000, b"\xff", b'{"model": "words", "input": "\\ud800"}', b"9" * 9000):
        broken = client.post("/v1/embeddings", content=content, headers={"content-type": "application/json"})
        assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error"), content[:40]
    assert error_of(client, 404, model="other", input="a")["code"] == "model_not_found"
    assert client.get("/nowhere").json()["error"]["message"] == "Not Found"
    assert client.get("/v1/embeddings").status_code == 405


def test_models_are_listed_by_name_and_role(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["words", "words:query", "words:document", "words:cosine"]
    assert client.get("/v1/models/words:query").json() == listed["data"][1]
    assert client.get("/v1/models/other").json()["error"]["code"] == "model_not_found"


def test_a_role_is_said_by_the_name_or_the_type(client: TestClient, model: ServableWords) -> None:
    query, document = model.embed(["a red fox"], "query")[0], model.embed(["a red fox"], "key")[0]
    assert not np.allclose(query, document)
    said: list[tuple[dict[str, Any], Any]] = [
        ({"model": "words:query"}, query),
        ({"input_type": "query"}, query),
        ({"input_type": "search_query"}, query),
        ({"model": "words:document"}, document),
        ({"input_type": "search_document"}, document),
        ({}, document),
    ]
    for fields, expected in said:
        found = asked(client, input="a red fox", **fields)["data"][0]["embedding"]
        assert np.array_equal(np.array(found, np.float32), expected), fields


def test_the_role_that_holds_is_in_a_header(client: TestClient) -> None:
    for name, said in (("words", "none"), ("words:query", "query"), ("words:document", "document")):
        answer = client.post("/v1/embeddings", json={"model": name, "input": "a"})
        assert answer.headers["X-Nearfar-Role"] == said


def test_a_truncated_text_is_named(client: TestClient) -> None:
    rows = asked(client, input=["a", LONG], truncate=True)["data"]
    assert [row.get("truncated") for row in rows] == [None, True]


def test_lengths_that_were_trained_for_are_given(make: Make, model: ServableWords) -> None:
    model.notes["recipe"] = {"loss": {"name": "matryoshka", "dims": [16, 8]}}
    client = make()
    whole = np.array(asked(client, input="a red fox")["data"][0]["embedding"])
    short = np.array(asked(client, input="a red fox", dimensions=8)["data"][0]["embedding"])
    assert short.shape == (8,)
    assert np.allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    assert "take one of 8, 16" in error_of(client, input="a", dimensions=4)["message"]
    described = client.get("/openapi.json").json()["components"]["schemas"]["EmbeddingRequest"]
    assert described["properties"]["dimensions"]["anyOf"][0]["enum"] == [8, 16]


def test_a_vector_that_is_not_finite_never_leaves(client: TestClient) -> None:
    error = error_of(client, 500, input=["a red fox", "nan"])
    assert error["type"] == "server_error"
    assert "log" in error["message"]


def test_one_bad_text_among_64_good_ones_fails_alone(make: Make) -> None:
    with make() as client, ThreadPoolExecutor(65) as pool:
        texts = [f"a fox of number {i}" for i in range(64)]
        texts.insert(32, "poison")
        answers = list(
            pool.map(lambda text: client.post("/v1/embeddings", json={"model": "words", "input": text}), texts)
        )
        assert [answer.status_code for answer in answers] == [500 if text == "poison" else 200 for text in texts]
        assert asked(client, input="and then")["data"]


def test_64_callers_of_one_text_get_one_vector(make: Make) -> None:
    with make() as client, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: asked(client, input="a red fox")["data"], range(64)))
        assert all(answer == answers[0] for answer in answers)


def test_openais_client_needs_no_change(client: TestClient, model: ServableWords) -> None:
    openai = pytest.importorskip("openai")
    api = openai.OpenAI(api_key="none", base_url="http://testserver/v1", http_client=client, max_retries=0)
    found = api.embeddings.create(model="words:query", input=["a red fox"])
    assert np.allclose(found.data[0].embedding, model.embed(["a red fox"], "query")[0], atol=1e-7)
    assert found.usage.prompt_tokens == 4
    assert next(iter(api.models.list())).id == "words"
    with pytest.raises(openai.BadRequestError, match="not trained to be cut"):
        api.embeddings.create(model="words", input="a", dimensions=3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_langchains_client_gets_a_querys_vector(client: TestClient, model: ServableWords) -> None:
    langchain = pytest.importorskip("langchain_openai")
    made: dict[str, Any] = {"base_url": "http://testserver/v1", "api_key": "none", "http_client": client}
    api = langchain.OpenAIEmbeddings(model="words:query", check_embedding_ctx_length=False, **made)
    assert np.allclose(api.embed_query("a red fox"), model.embed(["a red fox"], "query")[0], atol=1e-7)
    of_tokens = langchain.OpenAIEmbeddings(model="words:query", tiktoken_enabled=False, **made)
    assert of_tokens.check_embedding_ctx_length  # so it would send tokens of another model
