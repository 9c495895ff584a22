"""Pictures of rows over HTTP: what the index keeps, with the right headers, and only to who may ask."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

pytest.importorskip("PIL", reason="the extra images is not installed")

from PIL import Image

from nearfar.index.index import Index
from nearfar.index.thumbnails import FILE
from nearfar.serving.keys import Keys
from tests.pictures.samples import noise
from tests.serving.conftest import Make
from tests.serving.test_operating import KEYS, hashed

HOSTILE = [
    "a/b/../../etc/passwd",
    "../rows.index/index.json",
    "x\n",
    "a\nb/c?d#e",
    "photo/picture",
    "'); DROP TABLE thumbnails; --",
    "<img src=x onerror=alert(1)>\u202e.png",
]
PLAIN = noise(5, 40, 60)


def place(name: str) -> str:
    return f"/documents/{quote(name, safe='')}/picture"


@pytest.fixture
def client(make: Make) -> TestClient:
    """A client of the four animals, and of pictures whose ids would like to be paths."""
    made = make(with_index=True)
    add(made)
    return made


def add(client: TestClient) -> None:
    index: Index = client.app_state["service"].index
    index.add([{"id": name, "image": np.full((8, 8, 3), 20 * i, np.uint8)} for i, name in enumerate(HOSTILE)])
    index.add([{"id": "photo", "image": PLAIN}])


def test_a_picture_is_that_of_its_row(client: TestClient, tmp_path: Path) -> None:
    answer = client.get(place("photo"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    shown = Image.open(io.BytesIO(answer.content))
    assert shown.size == (60, 40) and not shown.getexif()
    assert np.abs(np.asarray(shown, float) - PLAIN).mean() < 10
    with Index.open(tmp_path / "rows.index") as index:
        assert answer.content == index.thumbnail("photo")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"].startswith("private")
    assert answer.headers["Vary"] == "Authorization"


@pytest.mark.parametrize("name", HOSTILE)
def test_an_id_is_an_id_and_never_a_path(client: TestClient, name: str) -> None:
    answer = client.get(place(name))
    assert answer.status_code == 200
    grey = np.asarray(Image.open(io.BytesIO(answer.content)), float).mean()
    assert abs(grey - 20 * HOSTILE.index(name)) < 3


@pytest.mark.parametrize("name", ["fox", "nobody", "../index.json", "x", "/etc/passwd", "photo\n"])
def test_a_row_without_one_and_no_row_are_404(client: TestClient, name: str) -> None:
    answer = client.get(place(name))
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("not_found", "name", "invalid_request_error")
    assert "has a picture" in error["message"]


def test_hits_say_whether_they_have_one(client: TestClient) -> None:
    hits = client.post("/search", json={"vector": [1.0] * 16, "k": 100}).json()["hits"]
    assert {hit["id"] for hit in hits if hit.get("picture")} == {*HOSTILE, "photo"}
    assert all("picture" not in hit for hit in hits if hit["id"] not in {*HOSTILE, "photo"})
    facts = client.get("/index").json()
    assert (facts["thumbnails"], facts["rows"], facts["texts"]) == (len(HOSTILE) + 1, len(HOSTILE) + 5, 4)
    assert facts["thumbnail_bytes"] > 0


def test_it_goes_with_its_row(client: TestClient) -> None:
    assert client.delete("/documents/photo").status_code == 200
    assert client.get(place("photo")).status_code == 404
    assert client.get(place("photo/picture")).status_code == 200
    assert client.delete("/documents/photo%2Fpicture").json()["deleted"] == 1


def test_where_keys_are_set_it_needs_one(make: Make) -> None:
    client = make(with_index=True, app={"keys": Keys(map(hashed, KEYS))})
    add(client)
    for header in ({}, {"Authorization": "Bearer wrong"}):
        answer = client.get(place("photo"), headers=header)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert client.get(place("photo"), headers={"Authorization": f"Bearer {KEYS[0]}"}).status_code == 200


def test_a_search_goes_on_where_the_file_is_damaged(make: Make) -> None:
    client = make(with_index=True)
    index: Index = client.app_state["service"].index
    (index.place / FILE).write_bytes(b"no database" * 500)
    hits: list[dict[str, Any]] = client.post("/search", json={"text": "red fox"}).json()["hits"]
    assert hits[0]["id"] == "fox" and "picture" not in hits[0]
    assert client.get(place("fox")).status_code >= 400


def test_no_other_way_asks_for_it(client: TestClient) -> None:
    assert client.post(place("photo")).status_code == 405
    described = client.get("/openapi.json").json()["paths"]["/documents/{name}/picture"]
    assert list(described) == ["get"]
    assert list(described["get"]["responses"]["200"]["content"]) == ["image/jpeg"]
