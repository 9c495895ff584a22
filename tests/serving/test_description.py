"""The description of the interface is true: schemathesis sends what it allows and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis")
pytest.importorskip("fastapi", reason="the extra serve is not installed")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from nearfar.index.index import Index
from nearfar.serving.app import create_app
from nearfar.serving.served import QueuedModel
from nearfar.serving.service import Service
from nearfar.uses.map import map_of_index
from tests.serving.word_model import ServableWords

# Where what a schema allows may still be refused, which the check of what must be accepted would not have.
SAID_BY_CONTENT = {
    "/search": "a filter is a language, an id may be unknown, a picture's bytes are a picture or not",
    "/facets": "a filter is a language",
    "/map": "a field may be unknown, a map may be of other rows",
    "/map/passing": "a filter is a language, a map may be of other rows",
    "/map/place": "a text or a picture, whose bytes are one or not; a filter is a language; a map may be of other rows",
    "/documents": "a field's values are of the kind of its first one, a row has a text or a picture",
}


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Any]:
    model = ServableWords()
    service = Service.of(model, name="words")
    with Index.create(tmp_path / "rows.index", model) as index:
        texts = {"fox": "a red fox. It runs.", "hen": "a hen", "goose": "a grey goose", "pig": "the pig eats"}
        index.add([{"id": name, "text": text, "legs": 2 + 2 * (name in "fox pig")} for name, text in texts.items()])
        map_of_index(index)
    assert service.model is not None
    service.index = Index.open(tmp_path / "rows.index", QueuedModel(service.model))
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(service))
    service.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_every_answer_is_as_described(described: Any, mode: GenerationMode) -> None:
    asked = 0
    for found in described.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:  # any path is a right one
            continue
        left_out = [positive_data_acceptance] if operation.path in SAID_BY_CONTENT else []
        _ask(operation.as_strategy(generation_mode=mode), left_out)
        asked += 1
    assert asked >= 11


def _ask(cases: Any, left_out: list[Any]) -> None:
    @settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(cases)
    def ask(case: Any) -> None:
        case.call_and_validate(excluded_checks=left_out)

    ask()
