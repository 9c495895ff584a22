"""What the page asks: counts of filters, what answers a query, the map, and what the index is; against the index."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nearfar.index.filters import And
from nearfar.index.index import Index
from nearfar.index.parse_filter import parse
from nearfar.serving.filter_routes import KeptCounts
from nearfar.serving.service import Service
from nearfar.uses.map import map_of_index
from nearfar.vectors.corpus_map import CorpusMap, map_of
from tests.serving.conftest import LEGS, TEXTS, Make
from tests.serving.word_model import LONGEST, ServableWords

COLOURS = {"fox": "red", "goose": "grey", "hen": "red"}


@pytest.fixture
def coloured(client: TestClient) -> TestClient:
    """A client of the four animals, three of which have a colour, and all an own name and the same farm."""
    rows = []
    for name, text in TEXTS.items():
        fields = {"legs": LEGS[name], "farm": "A", "wild": name == "fox"}
        rows.append(
            {"id": name, "text": text, "fields": fields | ({"colour": COLOURS[name]} if name in COLOURS else {})}
        )
    assert client.post("/documents", json={"documents": rows}).status_code == 200
    return client


def facets(client: TestClient, *conditions: str) -> Any:
    answer = client.post("/facets", json={"conditions": list(conditions)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(found: Any) -> dict[str, dict[Any, int]]:
    return {one["field"]: {value["value"]: value["count"] for value in one["values"]} for one in found["facets"]}


def test_values_are_counted_of_rows_that_meet_the_other_conditions(coloured: TestClient) -> None:
    assert values(facets(coloured)) == {
        "legs": {2: 2, 4: 2},
        "wild": {False: 3, True: 1},
        "colour": {"red": 2, "grey": 1},
    }  # not the farm, which is the same everywhere
    found = facets(coloured, "colour = 'red'", "legs = 2")
    assert (found["rows"], found["matching"]) == (4, 1)
    assert values(found) == {
        "legs": {2: 1, 4: 1},  # of red ones
        "wild": {False: 1, True: 0},
        "colour": {"red": 1, "grey": 1},  # with two legs
    }
    assert [type(one["value"]) for one in found["facets"][1]["values"]] == [bool, bool]


def test_it_is_told_which_condition_leaves_no_row(coloured: TestClient) -> None:
    found = facets(coloured, "colour = 'grey'", "legs = 4", "farm = 'B'")
    assert found["matching"] == 0
    assert [(one["alone"], one["without"]) for one in found["conditions"]] == [(1, 0), (2, 0), (0, 0)]
    two = facets(coloured, "colour = 'grey'", "legs = 4")["conditions"]
    assert [(one["alone"], one["without"]) for one in two] == [(1, 2), (2, 1)]


def test_counts_follow_what_is_written(coloured: TestClient) -> None:
    assert facets(coloured)["rows"] == 4
    coloured.post("/documents", json={"documents": [{"id": "cat", "text": "a cat", "fields": {"colour": "blue"}}]})
    assert values(facets(coloured))["colour"] == {"red": 2, "grey": 1, "blue": 1}
    assert coloured.post("/facets", json={"conditions": ["colour = "]}).status_code == 400


def test_counts_that_were_made_while_another_wrote_are_not_kept(client: TestClient) -> None:
    """Without `cat` the rows have their first digest again, of which five rows would have been told from then on."""
    index = client.app_state["service"].index
    kept = KeptCounts(index)
    with kept.now() as slow:
        index.add([{"id": "cat", "text": "a cat", "legs": 4}])
        assert slow.count(parse("legs = 4", index.fields)) == 3
        with kept.now() as other:
            assert other is not slow
    index.delete(["cat"])
    with kept.now() as now:
        assert now.count(parse("legs = 4", index.fields)) == 2
        assert now.values("legs", And(())) == {2: 2, 4: 2}
    with kept.now() as again:
        assert again is now


def test_a_map_of_rows_that_change_meanwhile_is_to_be_made_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = client.app_state["service"].index

    def slow(*given: Any) -> CorpusMap:
        index.delete(["hen"])
        return map_of(*given)

    with monkeypatch.context() as patched:
        patched.setattr("nearfar.index.kept_map.map_of", slow)
        answer = client.post("/map", json={"method": "pca"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "changed_meanwhile")
    assert client.get("/map").status_code == 404
    assert client.post("/map", json={"method": "pca"}).json() == {"method": "pca", "rows": 3}
    assert client.get("/map").json()["ids"] == ["fox", "goose", "pig"]


def test_what_is_asked_of_a_map_is_not_answered_by_another_one(client: TestClient) -> None:
    """A page that has drawn a map would else make other rows faint, and place the query by other axes."""
    client.post("/map", json={"method": "pca"})
    of = {"map": client.get("/map").json()["map"]}
    asked: dict[str, Any] = {"/map/passing": {"where": "legs = 2"}, "/map/place": {"text": "a fox"}}
    before = {path: client.post(path, json=body | of).json() for path, body in asked.items()}
    row = {"id": "ant", "text": "an ant", "fields": {"legs": 6}}
    client.post("/documents", json={"documents": [row]})
    assert [client.post(path, json=body | of).status_code for path, body in asked.items()] == [404, 404]
    client.post("/map", json={"method": "pca"})
    for path, body in asked.items():
        answer = client.post(path, json=body | of)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other_map")
        assert client.post(path, json=body).status_code == 200  # of whichever there is
    client.delete("/documents/ant")
    client.post("/map", json={"method": "pca"})
    assert {path: client.post(path, json=body | of).json() for path, body in asked.items()} == before


def test_an_index_of_another_model_is_refused_until_the_server_starts_anew(client: TestClient) -> None:
    index = client.app_state["service"].index
    assert client.get("/ready").status_code == 200
    with Index.beside(index.folder, ServableWords(8)) as other:
        other.add([{"id": name, "text": f"{text} today"} for name, text in TEXTS.items()])
    assert client.post("/search", json={"text": "a fox"}).status_code == 200
    Index.swap(index.folder)
    row = {"id": "cat", "text": "a cat"}
    asked = [
        client.post("/search", json={"text": "a fox"}),
        client.post("/search", json={"text": "a fox", "mode": "words"}),
        client.post("/search", json={"like": ["fox"]}),
        client.post("/search", json={"vector": [1.0] * 16}),
        client.post("/matches", json={"text": "a fox", "ids": ["fox"], "sentences": False}),
        client.post("/documents", json={"documents": [row]}),
        client.get("/ready"),
    ]
    said = [(answer.status_code, answer.json().get("error", {}).get("code")) for answer in asked]
    assert said == [(503, "other_model")] * 4 + [(200, None)] + [(503, "other_model")] * 2
    assert client.get("/index").json()["dim"] == 8  # what is there is told
    assert client.post("/facets", json={}).json()["rows"] == 4


def test_words_and_the_nearest_sentence_of_a_row(client: TestClient) -> None:
    text = "Foxes run at night. A goose flies south! Nobody sleeps."
    client.post("/documents", json={"documents": [{"id": "long", "text": text}]})
    found = client.post("/matches", json={"text": "flying goose south", "ids": ["long", "fox", "nobody"]}).json()
    assert found["terms"] == {"fli": "flying", "goos": "goose", "south": "south"}
    by_id = {row["id"]: row for row in found["rows"]}
    assert set(by_id) == {"long", "fox"}
    assert [text[a:b] for a, b in by_id["long"]["words"]] == ["goose", "flies", "south"]
    start, stop = by_id["long"]["sentence"]
    assert text[start:stop] == "A goose flies south!"
    assert by_id["fox"]["words"] == [] and by_id["fox"]["sentence"] is None  # it has one alone
    without = client.post("/matches", json={"text": "goose", "ids": ["long"], "sentences": False}).json()["rows"][0]
    assert without["sentence"] is None and without["words"] == by_id["long"]["words"][:1]


def test_places_are_code_points(client: TestClient) -> None:
    text = "\U0001f98a\U0001f98a a gr\u00fcn goose \u91cd\u7f6e\u5bc6\u7801"
    client.post("/documents", json={"documents": [{"id": "x", "text": text}]})
    row = client.post("/matches", json={"text": "GR\u00dcN \u7f6e\u5bc6", "ids": ["x"]}).json()["rows"][0]
    assert [text[a:b] for a, b in row["words"]] == ["gr\u00fcn", "\u7f6e\u5bc6"]


def test_a_sentence_without_a_vector_is_passed_over(client: TestClient) -> None:
    client.post("/documents", json={"documents": [{"id": "x", "text": "A hen sits. It is here."}]})
    service: Service = client.app_state["service"]
    assert service.model is not None
    service.index.add([{"id": "odd", "text": "zero. A red hen. poison."}], np.ones((1, 16)))  # type: ignore[union-attr]
    row = client.post("/matches", json={"text": "hen", "ids": ["odd"]}).json()["rows"][0]
    assert row["sentence"] == [6, 16]


def test_a_map_is_there_once_it_was_made(coloured: TestClient) -> None:
    error = coloured.get("/map").json()["error"]
    assert error["code"] == "no_map" and "nearfar map rows.index" in error["message"]
    assert coloured.post("/map").status_code == 400  # as a form of another site would send it
    assert coloured.post("/map", json={"method": "pca"}).json() == {"method": "pca", "rows": 4}
    found = coloured.get("/map", params={"by": "colour"}).json()
    xy = np.frombuffer(base64.b64decode(found["xy"]), "<u2").reshape(-1, 2)
    value = np.frombuffer(base64.b64decode(found["value"]), "<u4")
    assert sorted(found["ids"]) == sorted(TEXTS) and len(xy) == 4
    names = [found["names"][one] for one in value]
    assert dict(zip(found["ids"], names)) == {**COLOURS, "pig": "(none)"}
    assert {one["name"]: one["size"] for one in found["legend"]} == {"red": 2, "grey": 1, "(none)": 1}
    index = coloured.app_state["service"].index
    drawn, _ = map_of_index(index)
    square = (drawn.places - drawn.places.min(0)) / (drawn.places.max(0) - drawn.places.min(0)).max() * 65535
    assert np.abs(xy - square).max() <= 1
    assert found["kept"]["share"] == drawn.kept.share
    assert coloured.get("/map", params={"by": "nothing"}).status_code == 400
    coloured.delete("/documents/pig")
    assert coloured.get("/map").status_code == 404  # it was of other rows


def test_a_query_lies_where_a_row_of_its_vector_lies(coloured: TestClient) -> None:
    coloured.post("/map", json={"method": "pca"})
    found = coloured.get("/map").json()
    xy = np.frombuffer(base64.b64decode(found["xy"]), "<u2").reshape(-1, 2)
    service = coloured.app_state["service"]
    # The query's prompt is one word more, so it is asked as the rows were embedded: without one.
    service.model.model.prompt = lambda _: ""
    placed = coloured.post("/map/place", json={"text": TEXTS["goose"]}).json()
    assert placed["near"][0]["id"] == "goose" and placed["near"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert [placed["x"], placed["y"]] == pytest.approx(xy[found["ids"].index("goose")].tolist(), abs=2)
    assert coloured.post("/map/place", json={}).status_code == 400


def test_the_rows_of_a_map_that_meet_a_filter(coloured: TestClient) -> None:
    assert coloured.post("/map/passing", json={"where": "legs = 2"}).status_code == 404  # no map is kept
    coloured.post("/map", json={"method": "pca"})
    found, ids = coloured.get("/map").json(), {}
    assert found["labels"] is None  # these rows are of no documents
    for where in ("colour = 'red'", "legs >= 0", "legs > 100"):
        said = coloured.post("/map/passing", json={"where": where}).json()
        bits = np.unpackbits(np.frombuffer(base64.b64decode(said["mask"]), np.uint8))[: len(found["ids"])]
        ids[where] = {name for name, bit in zip(found["ids"], bits) if bit}
        assert said["matching"] == len(ids[where])
    assert ids["colour = 'red'"] == {name for name, colour in COLOURS.items() if colour == "red"}
    assert (len(ids["legs >= 0"]), ids["legs > 100"]) == (4, set())
    assert coloured.post("/map/passing", json={"where": "nothing = 1"}).status_code == 400
    near = coloured.post("/map/place", json={"text": "fox", "where": "colour = 'red'"}).json()["near"]
    assert {one["id"] for one in near} == ids["colour = 'red'"]


def test_an_index_says_what_it_is(coloured: TestClient, model: ServableWords) -> None:
    found = coloured.get("/index").json()
    assert (found["name"], found["rows"], found["texts"], found["backend"]) == ("rows.index", 4, 4, "exact")
    assert found["fields"] == {"legs": "integer", "farm": "text", "wild": "boolean", "colour": "text"}
    assert found["model"]["fingerprint"] == found["fingerprint"] == model.fingerprint
    assert found["approximate"] is None and found["read_only"] is False
    assert "/" not in str(found)  # no path of the server's


def test_a_check_says_what_is_wrong(coloured: TestClient) -> None:
    assert coloured.post("/index/check", json={}).json()["problems"] == []
    service = coloured.app_state["service"]
    with service.index._opened.reading() as (_, store):
        store.backend.delete(["fox"])  # behind the back of words
    assert "the backend has 3 rows" in coloured.post("/index/check", json={}).json()["problems"][0]


def test_the_share_of_texts_that_are_cut(coloured: TestClient) -> None:
    service: Service = coloured.app_state["service"]
    service.index.add([{"id": "long", "text": "word " * (LONGEST + 1)}])  # type: ignore[union-attr]
    found = coloured.get("/index/texts").json()
    assert (found["of"], found["read"], found["truncated"], found["longest"]) == (5, 5, 1, LONGEST)


def test_who_only_reads_changes_nothing(make: Make) -> None:
    client = make(with_index=True, read_only=True)
    assert client.get("/index").json()["read_only"] is True
    assert client.post("/index/check", json={}).status_code == 403
    assert client.post("/map", json={"method": "pca"}).status_code == 403


def test_without_a_model_words_are_lit_and_nothing_is_embedded(model: ServableWords, tmp_path: Path) -> None:
    from nearfar.serving.app import create_app

    with Index.create(tmp_path / "rows.index", model) as index:
        index.add([{"id": name, "text": f"{text}. So it is."} for name, text in TEXTS.items()])
    service = Service.of(None)
    service.index = Index.open(tmp_path / "rows.index")
    client = TestClient(create_app(service), raise_server_exceptions=False)
    assert client.get("/index").json()["model"] is None
    row = client.post("/matches", json={"text": "red fox", "ids": ["fox"]}).json()["rows"][0]
    assert len(row["words"]) == 2 and row["sentence"] is None
    assert client.get("/index/texts").json()["truncated"] is None
    service.close()
