"""`nearfar serve` as a process: a real model and index, asked over a socket, and ended by a signal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import nearfar as nf

BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 16, "max_position_embeddings": 64}
TEXTS = ["a red fox runs", "a grey goose flies", "a red hen sits", "the pig eats"]
STARTS, ENDS = 240, 120  # seconds at most, on a busy machine


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and an index of it."""
    folder = tmp_path_factory.mktemp("served")
    encoder = nf.encoders.Transformer(config=BERT, vocabulary=300, prompts={"query": "ask: "})
    encoder.prepare([nf.column.ListColumn("text", TEXTS)])
    model = nf.Model.load(nf.Model(encoder).save(folder / "run" / "model"))
    with nf.Index.create(folder / "rows.index", model) as index:
        index.add([{"id": f"row {i}", "text": text} for i, text in enumerate(TEXTS)])
    return folder


@dataclass
class Running:
    """A server that was started. facts: what it said when it began."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.facts["url"])

    def ended(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(ENDS)


@pytest.fixture
def start(default_signals: None) -> Iterator[Any]:
    begun: list[subprocess.Popen[str]] = []

    def started(*words: object) -> Running:
        command = [sys.executable, "-c", "from nearfar.cli import main; main()", "serve", *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True, env=environment
        )
        begun.append(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], STARTS)[0], "the server did not start"
        return Running(process, json.loads(process.stdout.readline()))

    yield started
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.wait(ENDS)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
def test_an_index_is_served_and_ends_without_loss(place: Path, start: Any) -> None:
    server = start(place / "rows.index")
    assert (server.facts["rows"], server.facts["model"], server.facts["dim"]) == (4, "run", 16)
    model = nf.Model.load(place / "run" / "model")
    with httpx.Client(base_url=server.url, timeout=ENDS) as api:
        assert api.get("/ready").json() == {"status": "ok"}
        for name, role in (("run", None), ("run:query", "query"), ("run:document", "key")):
            body = api.post("/v1/embeddings", json={"model": name, "input": TEXTS}).json()
            found = np.array([row["embedding"] for row in body["data"]], np.float32)
            assert np.allclose(found, model.embed(TEXTS, role), atol=1e-5)
        assert body["usage"]["prompt_tokens"] == sum(model.encoder.inputs(TEXTS).costs())
        long = {"model": "run", "input": "a red fox " * 100}
        assert api.post("/v1/embeddings", json=long).json()["error"]["code"] == "context_length_exceeded"
        assert api.post("/v1/embeddings", json={**long, "truncate": True}).json()["data"][0]["truncated"]
        hits = api.post("/search", json={"text": "a red fox runs", "mode": "vectors", "k": 2}).json()["hits"]
        with nf.Index.open(place / "rows.index", model) as index:
            assert [hit["id"] for hit in hits] == [hit.id for hit in index.search(TEXTS[0], 2, mode="vectors")]
        assert _while_it_works(api, server) == [200, 200]
    assert server.process.wait(ENDS) == 0


def _while_it_works(api: httpx.Client, server: Running) -> list[int]:
    """Send SIGTERM while two large requests are inside; return their statuses."""
    many = {"model": "run", "input": [f"a fox of number {i} runs and runs" for i in range(2048)]}
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.post(f"{server.url}/v1/embeddings", json=many, timeout=ENDS).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ENDS
    while "nearfar_queue_texts 0.0" in api.get("/metrics").text and time.monotonic() < deadline:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(ENDS)
    return statuses


@pytest.mark.slow
def test_ctrl_c_is_130_and_keys_are_asked_for(place: Path, start: Any, tmp_path: Path) -> None:
    import hashlib

    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"open sesame").hexdigest())
    server = start(place / "run" / "model", "--keys", keys, "--host", "0.0.0.0", "--name", "faq")
    assert server.facts["keys"] == 1
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{url}/v1/models", timeout=ENDS).status_code == 401
    bearer = {"Authorization": "Bearer open sesame"}
    assert httpx.get(f"{url}/v1/models", headers=bearer, timeout=ENDS).json()["data"][0]["id"] == "faq"
    assert server.ended(signal.SIGINT) == 130
