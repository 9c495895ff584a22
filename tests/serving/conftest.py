"""A service over a model of words, with an index, and a client that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

from nearfar.index.index import Index
from nearfar.serving.app import create_app
from nearfar.serving.served import QueuedModel
from nearfar.serving.service import Service
from tests.serving.word_model import ServableWords

TEXTS = {"fox": "a red fox runs", "goose": "a grey goose flies", "hen": "a red hen sits", "pig": "the pig eats"}
LEGS = {"fox": 4, "goose": 2, "hen": 2, "pig": 4}
Make = Callable[..., TestClient]


@pytest.fixture
def model() -> ServableWords:
    return ServableWords()


@pytest.fixture
def make(model: ServableWords, tmp_path: Path) -> Iterator[Make]:
    """Make a client of an application; its settings are those of `Service.of` and `create_app`."""
    opened: list[Any] = []

    def made(*, with_index: bool = False, app: dict[str, Any] | None = None, **settings: Any) -> TestClient:
        service = Service.of(model, name="words", **settings)
        opened.append(service)
        if with_index:
            place = tmp_path / "rows.index"
            with Index.create(place, model) as index:
                index.add([{"id": name, "text": text, "legs": LEGS[name]} for name, text in TEXTS.items()])
            service.index = Index.open(place, QueuedModel(service.model))  # type: ignore[arg-type]
        client = TestClient(create_app(service, **(app or {})), raise_server_exceptions=False)
        client.app_state["service"] = service
        return client

    yield made
    for service in opened:
        service.close()


@pytest.fixture
def client(make: Make) -> TestClient:
    return make(with_index=True)
