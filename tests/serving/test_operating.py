"""What an operator relies on: keys, limits, readiness, counts, an end without loss, a description that is true."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from nearfar.errors import InputError, RunError
from nearfar.serving.app import create_app
from nearfar.serving.keys import Keys
from nearfar.serving.service import ServerLimits, Service, name_of, refuse_other_vectors
from nearfar.serving.traffic import BodyLimit
from tests.serving.conftest import Make
from tests.serving.test_batching import BARRIER, Held
from tests.serving.word_model import ServableWords

KEYS = ["first-key", "second-key"]


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def embedded(client: TestClient, text: str = "a", **headers: str) -> Any:
    return client.post("/v1/embeddings", json={"model": "words", "input": text}, headers=headers)


def test_a_key_is_asked_for(make: Make) -> None:
    client = make(app={"keys": Keys(map(hashed, KEYS))})
    for key in KEYS:
        assert embedded(client, Authorization=f"Bearer {key}").status_code == 200
    for wrong in ("Bearer third", f"Basic {KEYS[0]}", "Bearer", f"Bearer {hashed(KEYS[0])}", "Bearer \udcff"):
        refused = embedded(client, **{"Authorization": wrong.encode("latin-1", "replace").decode()})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert embedded(client).json()["error"]["code"] == "invalid_api_key"
    assert client.get("/metrics").status_code == 401
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path


def test_a_key_may_have_any_letters(make: Make) -> None:
    client = make(app={"keys": Keys([hashed("schl\u00fcssel \N{KEY}")])})
    asked: Any = client.get
    for key, status in (("schl\u00fcssel \N{KEY}", 200), ("schlussel \N{KEY}", 401)):
        answer = asked("/v1/models", headers=[(b"Authorization", b"Bearer " + key.encode())])
        assert answer.status_code == status


def test_keys_are_read_from_file_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the team\n\n{hashed('a')} alice\n{hashed('b').upper()}\n")
    known = Keys.read(path, f"{hashed('c')},")
    assert [known.know(f"Bearer {key}".encode()) for key in "abcd"] == [True, True, True, False]
    assert len(Keys.read(None, None)) == 0
    for text, words in (("plain-key\n", "64 hexadecimal"), ("# none\n", "holds no key")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            Keys.read(path, None)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.read(tmp_path / "nothing", None)


def test_a_body_has_a_limit_with_a_length_and_without(make: Make) -> None:
    client = make(limits=ServerLimits(body=1000))
    assert embedded(client, "a" * 2000).status_code == 413

    def parts() -> Any:
        yield b'{"model": "words", "input": "'
        for _ in range(4):
            yield b"a " * 200
        yield b'"}'

    said = {"content-type": "application/json"}
    streamed = client.post("/v1/embeddings", content=parts(), headers=said)
    assert (streamed.status_code, "1,000 bytes" in streamed.json()["error"]["message"]) == (413, True)
    assert embedded(client).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(make: Make) -> None:
    """The first part comes, and no other; patience runs out, and what the caller has sent is answered with 408."""
    client = make()
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": b'{"model"', "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [], "query_string": b""}
    asyncio.run(BodyLimit(client.app, 1000, patience=0.01)(scope, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"in time" in sent[1]["body"]


def test_a_body_in_another_form_is_told_what_to_send(make: Make) -> None:
    client, body = make(), b'{"model": "words", "input": "a"}'
    packed = client.post("/v1/embeddings", content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert (packed.status_code, "compressed" in packed.json()["error"]["message"]) == (400, True)
    plain = client.post("/v1/embeddings", content=body, headers={"content-type": "text/plain"})
    assert (plain.status_code, "Content-Type: application/json" in plain.json()["error"]["message"]) == (400, True)
    whole = {"content-encoding": "identity", "content-type": "application/json"}
    assert client.post("/v1/embeddings", content=body, headers=whole).status_code == 200


def test_another_name_of_this_machine_is_refused(make: Make) -> None:
    client = make(app={"hosts": ["localhost"]})
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/health", headers={"host": "localhost:8000"}).status_code == 200


def test_too_much_waiting_is_429_and_readiness_ends_when_it_drains() -> None:
    """One loop, so that requests wait side by side while the model is held."""
    held = Held()
    service = Service.of(held, name="words", limits=ServerLimits(queue=1))

    async def asked(api: httpx.AsyncClient, text: str) -> httpx.Response:
        return await api.post("/v1/embeddings", json={"model": "words", "input": text})

    async def run() -> None:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as api:
            first = asyncio.create_task(asked(api, BARRIER))
            await asyncio.to_thread(held.reached.wait, 30)
            second = asyncio.create_task(asked(api, "a"))
            while not service.threads.waiting:
                await asyncio.sleep(0.01)
            full = await asked(api, "b")
            assert (full.status_code, full.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(full.headers["Retry-After"]) >= 1
            service.gate.draining = True
            refused = await asked(api, "c")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert (await api.get("/ready")).status_code == 503
            assert (await api.get("/health")).status_code == 200
            assert not service.gate.is_empty
            held.go.set()
            assert [answer.status_code for answer in await asyncio.gather(first, second)] == [200, 200]
            assert service.gate.is_empty

    try:
        asyncio.run(run())
    finally:
        held.go.set()
        service.close()


def test_counts_are_there_and_routes_are_not_made_up_by_callers(make: Make) -> None:
    client = make()
    embedded(client, "a red fox")
    embedded(client, "poison")
    client.get("/v1/models/made-up-by-a-caller")
    client.get("/nowhere/at/all")
    said = client.get("/metrics").text
    for line in (
        'nearfar_requests_total{method="POST",route="/v1/embeddings",status="200"} 1.0',
        'nearfar_failures_total{kind="server"} 1.0',
        'nearfar_failures_total{kind="not_found"} 2.0',
        'nearfar_request_seconds_count{route="/v1/embeddings"} 2.0',
        "nearfar_batch_texts_count 2.0",
        "nearfar_tokens_total 4.0",
        "nearfar_queue_texts 0.0",
    ):
        assert line in said.splitlines(), line
    assert "made-up" not in said
    assert "nowhere" not in said


def test_an_unforeseen_error_is_a_fixed_text(make: Make, model: ServableWords, monkeypatch: Any) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("/secret/path")

    client = make()
    monkeypatch.setattr(model, "inputs", broken)
    answer = embedded(client)
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_an_error_that_would_name_a_path_is_a_fixed_text(make: Make, model: ServableWords, monkeypatch: Any) -> None:
    client = make(with_index=True, hidden=["/secret/path"])

    def gone(*_: object, **__: object) -> Any:
        raise InputError("/secret/path: gone")

    monkeypatch.setattr("nearfar.index.index.Index.search", gone)
    answer = client.post("/search", json={"text": "a"})
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_an_index_without_a_model_is_searched_by_vectors_and_words(tmp_path: Path) -> None:
    from nearfar.index.index import Index

    with Index.create(tmp_path / "i", None, dim=3) as index:
        index.add([{"id": "x", "text": "a red fox"}], [[1, 0, 0]])
        service = Service.of(None, index)
        try:
            client = TestClient(create_app(service))
            assert client.post("/search", json={"vector": [1, 0, 0]}).json()["hits"][0]["id"] == "x"
            assert client.post("/search", json={"text": "fox", "mode": "words"}).json()["hits"][0]["id"] == "x"
            assert client.post("/search", json={"text": "fox"}).status_code == 404
            assert client.get("/ready").status_code == 200
            assert client.get("/v1/models").json()["data"] == []
            assert client.post("/v2/rerank", json={"query": "a", "documents": ["b"]}).status_code == 404
        finally:
            service.close()


def test_another_vector_than_the_one_that_was_kept_is_refused(model: ServableWords) -> None:
    class WithProbes(ServableWords):
        probes: Any = ()

    probed = WithProbes()
    refuse_other_vectors(probed)
    kept = probed.embed(["near"], "query")[0, :4].tolist()
    probed.probes = [("near", kept)]
    refuse_other_vectors(probed)
    probed.probes = [("near", kept), ("far", kept)]
    with pytest.raises(RunError, match="another vector of 'far'"):
        refuse_other_vectors(probed)


def test_a_models_name_is_that_of_its_folder_or_run() -> None:
    assert name_of(Path("/a/faq")) == "faq"
    assert name_of(Path("/a/faq/model")) == "faq"
