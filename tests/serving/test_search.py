"""Search over HTTP gives what the index gives; rows are added, replaced and removed."""

from __future__ import annotations

import base64
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nearfar.index.index import Index
from nearfar.serving.service import Reranker
from tests.serving.conftest import Make
from tests.serving.test_rerank_and_tei import by_length
from tests.serving.word_model import LONGEST, ServableWords

LONG = "word " * (LONGEST + 1)


def searched(client: TestClient, status: int = 200, **fields: Any) -> Any:
    answer = client.post("/search", json=fields)
    assert answer.status_code == status, answer.text
    return answer.json()["hits"] if status == 200 else answer.json()["error"]


def ids(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in hits]


def test_hits_are_those_of_the_index(client: TestClient, model: ServableWords, tmp_path: Path) -> None:
    with Index.open(tmp_path / "rows.index", model) as index:
        for mode in (None, "vectors", "words", "hybrid"):
            expected = [asdict(hit) for hit in index.search("red hen", k=3, mode=mode, explain=True)]
            assert searched(client, text="red hen", k=3, mode=mode, explain=True) == expected
        vector = index.vectors(["goose"])[0].tolist()
        assert searched(client, vector=vector, k=2) == [
            {name: value for name, value in asdict(hit).items() if value is not None}
            for hit in index.search(vector, k=2)
        ]
        assert ids(searched(client, like=["fox"], k=2)) == [hit.id for hit in index.search(like=["fox"], k=2)]
    assert "explain" not in searched(client, text="red hen")[0]


def test_a_filter_is_heard(client: TestClient) -> None:
    assert set(ids(searched(client, text="red hen", where="legs = 4"))) == {"fox", "pig"}
    assert "legz" in searched(client, 400, text="red hen", where="legz = 4")["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "give one of text, vector, image, like"),
        ({"text": "a", "like": ["fox"]}, "there are 2"),
        ({"text": "a", "k": 0}, "greater than or equal to 1"),
        ({"text": "a", "mode": "magic"}, "hybrid"),
        ({"text": LONG}, "more than the 24 tokens"),
        ({"text": "a", "rerank": True}, "no reranker"),
        ({"vector": [1, 2]}, "16 dimensions"),
        ({"vector": [0] * 16}, "zero"),
        ({"like": ["nobody"]}, "no row has the id 'nobody'"),
        ({"image": "%%%%"}, "no base64"),
        ({"image": "\u00e4\u00e4\u00e4\u00e4"}, "no base64"),
        ({"image": base64.b64encode(b"no picture").decode()}, "is no picture"),
    ],
)
def test_a_wrong_search_is_told_what_is_wrong(client: TestClient, fields: dict[str, Any], words: str) -> None:
    error = searched(client, 404 if "rerank" in fields else 400, **fields)
    assert words in error["message"]
    assert str(Path.cwd().anchor + "tmp") not in error["message"]


def test_a_picture_is_looked_for_by_its_pixels(make: Make, model: ServableWords) -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    written = io.BytesIO()
    image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(written, "PNG")
    picture = base64.b64encode(written.getvalue()).decode()
    client = make(with_index=True)
    assert client.post("/documents", json={"documents": [{"id": "photo", "image": picture}]}).json()["added"] == 1
    assert ids(searched(client, image=picture, k=1)) == ["photo"]


def test_a_reranker_orders_hits(make: Make) -> None:
    client = make(with_index=True, reranker=Reranker("by-length", by_length))
    assert ids(searched(client, text="red hen", rerank=True, k=2)) == ["goose", "fox"]


def test_rows_are_added_replaced_and_removed(client: TestClient) -> None:
    rows = [{"id": "docs/cat#1", "text": "a black cat", "fields": {"legs": 4}}, {"id": "hen", "text": "a hen"}]
    assert client.post("/documents", json={"documents": rows}).json() == {"added": 2, "rows": 5}
    assert ids(searched(client, text="black cat", k=1)) == ["docs/cat#1"]
    assert client.delete("/documents/docs/cat%231").json() == {"deleted": 1, "rows": 4}
    assert client.delete("/documents/docs/cat%231").status_code == 404


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "x"}, "neither text nor image"),
        ({"id": "x", "text": LONG}, "more than the 24 tokens"),
        ({"id": "x", "text": "a", "fields": {"legs": "two"}}, "integer"),
        ({"text": "a"}, "required"),
    ],
)
def test_a_wrong_row_is_told_and_nothing_is_written(client: TestClient, row: dict[str, Any], words: str) -> None:
    answer = client.post("/documents", json={"documents": [{"id": "good", "text": "good"}, row]})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert client.delete("/documents/good").status_code == 404


def test_a_server_that_only_reads(make: Make) -> None:
    client = make(with_index=True, read_only=True)
    assert client.post("/documents", json={"documents": [{"id": "x", "text": "a"}]}).status_code == 403
    assert client.delete("/documents/fox").status_code == 403
    assert ids(searched(client, text="red fox", k=1)) == ["fox"]


def test_a_row_is_removed_by_its_whole_id(client: TestClient) -> None:
    """An id may end with a line, or hold one; a line's end at the end of an address once meant the row without it."""
    ids = ["x", "x\n", "a\nb/c?d#e"]
    added = client.post("/documents", json={"documents": [{"id": name, "text": "a fox"} for name in ids]}).json()
    for left, name in enumerate(reversed(ids), 1):
        answer = client.delete(f"/documents/{quote(name, safe='')}")
        assert answer.json() == {"deleted": 1, "rows": added["rows"] - left}
        assert client.delete(f"/documents/{quote(name, safe='')}").status_code == 404
