"""The review of mined negatives over HTTP: what is decided is what `mine` and `train` read; undo, tabs, odd texts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nearfar.column import content_id
from nearfar.errors import InputError
from nearfar.mining.review_file import read_suspects, write_suspects
from nearfar.mining.suspects import Suspect
from nearfar.positives.relations.decisions import Decisions
from nearfar.serving import review_routes
from nearfar.serving.keys import Keys
from nearfar.serving.review_queue import ReviewQueue
from tests.serving.conftest import Make
from tests.serving.test_operating import hashed

HOSTILE = "<img src=x onerror='document.title=666'>\u202e\x1b[31m"


def suspects(count: int = 4) -> list[Suspect]:
    """Return suspects; the second and the third are of one query, and the last would like to be a script."""
    query = ["first", "same", "same", *(f"query {i}" for i in range(3, count))]
    found = [
        Suspect(query[i], f"answer {i}", f"negative {i}", {"model": (0.5, 0.5 + i / 100), "bm25": (2.0, 3.0)}, "above")
        for i in range(count - 1)
    ]
    return [*found, Suspect(f"q {HOSTILE}", f"p {HOSTILE}", f"n {HOSTILE}\nline", {HOSTILE: (0.0, 1.0)}, "both")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_suspects(suspects(), tmp_path / "r.jsonl")
    return tmp_path / "r.jsonl"


@pytest.fixture
def queue(place: Path) -> ReviewQueue:
    return ReviewQueue.open(place)


@pytest.fixture
def client(make: Make, queue: ReviewQueue) -> Any:
    return make(app={"routers": [review_routes.router(queue)], "open_paths": review_routes.OPEN_PATHS})


def put(client: Any, number: int, action: str) -> Any:
    answer = client.put(f"/review/items/{number}", json={"action": action})
    assert answer.status_code == 200, answer.text
    return answer.json()


def pairs(ids: Any) -> set[tuple[int, int]]:
    return set(zip(ids[0].tolist(), ids[1].tolist()))


def ids_of(one: Suspect) -> tuple[int, int]:
    return content_id(one.query), content_id(one.negative)


def test_suspects_are_read_as_they_were_written(place: Path) -> None:
    assert read_suspects(place) == suspects()


def test_what_is_decided_is_read_by_decisions(client: Any, queue: ReviewQueue, place: Path) -> None:
    first = client.get("/review/items/0").json()
    assert (first["query"], first["negative"], first["count"], first["decided"], first["next"]) == (
        "first", "negative 0", 4, 0, 1,
    )  # fmt: skip
    assert first["scores"] == {"model": [0.5, 0.5], "bm25": [2.0, 3.0]}
    for number, action in enumerate(("keep", "drop", "positive", "drop")):
        said = put(client, number, action)
        assert (said["action"], said["decided"]) == (action, number + 1)
    assert said["next"] is None
    assert queue.place == place.parent / "r.decisions.jsonl"
    found, all_of = Decisions.read(queue.place), suspects()
    assert pairs(found.dropped) == {ids_of(all_of[1]), ids_of(all_of[3])}
    assert pairs(found.positive) == {ids_of(all_of[2])}
    rows = [json.loads(line) for line in queue.place.read_text(encoding="utf-8").splitlines()]
    assert rows[3] == {
        "query": all_of[3].query, "negative": all_of[3].negative, "positive": all_of[3].positive, "action": "drop",
    }  # fmt: skip


def test_the_next_undecided_one_may_lie_before(client: Any) -> None:
    assert put(client, 3, "keep")["next"] == 0
    assert put(client, 0, "keep")["next"] == 1
    assert client.get("/review/items/3").json()["next"] == 1


def test_undo_brings_back_what_held_before(client: Any, queue: ReviewQueue) -> None:
    put(client, 0, "drop")
    put(client, 1, "keep")
    put(client, 0, "positive")
    undone = client.delete("/review/items/0").json()
    assert (undone["action"], undone["decided"]) == ("drop", 2)
    assert client.delete("/review/items/0").json()["action"] is None
    assert client.delete("/review/items/0").json()["action"] is None  # nothing is left to take back
    assert queue.actions() == [None, "keep", None, None]
    assert pairs(Decisions.read(queue.place).dropped) == set()


def test_lines_of_earlier_reviews_stay_and_hold(place: Path) -> None:
    decisions = place.parent / "d.jsonl"
    other = {"query": "elsewhere", "negative": "x", "action": "drop", "by": "a person"}
    same = {"query": "first", "negative": "negative 0", "action": "positive"}
    decisions.write_text(f"\ufeff{json.dumps(other)}\n\n{json.dumps(same)}", encoding="utf-8")
    queue = ReviewQueue.open(place, decisions)
    assert queue.actions()[0] == "positive"
    queue.decide(1, "drop")
    rows = [json.loads(line) for line in decisions.read_text(encoding="utf-8").splitlines()]
    assert rows[:2] == [other, same]
    queue.undo(1)
    assert [json.loads(line) for line in decisions.read_text(encoding="utf-8").splitlines()] == rows[:2]


def test_two_tabs_lose_no_decision(place: Path) -> None:
    write_suspects(suspects(40), place)
    queue = ReviewQueue.open(place)
    with ThreadPoolExecutor(8) as tabs:
        list(tabs.map(lambda number: queue.decide(number, ("keep", "drop")[number % 2]), range(40)))
    assert queue.actions() == ["keep", "drop"] * 20
    assert len(Decisions.read(queue.place).dropped[0]) == 20


def test_of_two_who_decide_on_one_pair_the_second_is_told(client: Any, queue: ReviewQueue) -> None:
    """Both saw an undecided pair; the second's verdict is not written, and no undo takes the first one's back."""
    item = "/review/items/0"
    first = client.put(item, json={"action": "keep", "seen": None})
    assert (first.status_code, first.json()["action"]) == (200, "keep")
    before = queue.place.read_bytes()
    asked = [
        client.put(item, json={"action": "drop", "seen": None}),
        client.put(item, json={"action": "drop", "seen": "positive"}),
        client.delete(item, params={"seen": "drop"}),
    ]
    for answer in asked:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (409, "decided_meanwhile")
        assert "somebody else decided: keep" in error["message"]
    assert queue.place.read_bytes() == before
    assert client.put(item, json={"action": "drop", "seen": "keep"}).json()["action"] == "drop"
    assert client.delete(item, params={"seen": "drop"}).json()["action"] == "keep"
    assert client.delete(item, params={"seen": "keep"}).json()["action"] is None  # the first decision of all
    assert "took the decision back" in client.delete(item, params={"seen": "keep"}).json()["error"]["message"]
    assert client.delete(item, params={"seen": "nothing"}).status_code == 400
    assert queue.place.read_bytes() == b"" and len(Decisions.read(queue.place).dropped[0]) == 0


def test_a_file_that_is_edited_meanwhile_is_taken_as_it_is(client: Any, queue: ReviewQueue) -> None:
    """By an editor that ends lines as Windows does and begins with a mark, and by who deletes it."""
    put(client, 0, "keep")
    lines = queue.place.read_text(encoding="utf-8").replace('"keep"', '"drop"')
    queue.place.write_text(f"\ufeff{lines}".replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert client.get("/review/items/0").json()["action"] == "drop"
    put(client, 1, "keep")
    assert queue.actions() == ["drop", "keep", None, None]
    queue.place.unlink()
    assert client.get("/review/items/1").json()["decided"] == 0
    assert put(client, 2, "drop")["decided"] == 1
    assert queue.actions() == [None, None, "drop", None]


def test_decisions_about_another_data_set_stay_and_decide_nothing(place: Path, tmp_path: Path) -> None:
    first = ReviewQueue.open(place)
    first.decide(0, "drop")
    other = tmp_path / "other.jsonl"
    write_suspects([Suspect("elsewhere", "p", "n", {}, "above")], other)
    queue = ReviewQueue.open(other, first.place)
    assert queue.actions() == [None]
    queue.decide(0, "positive")
    assert first.actions()[0] == "drop"
    assert pairs(Decisions.read(first.place).dropped) == {ids_of(suspects()[0])}


def test_a_verdict_that_cannot_be_is_refused(client: Any, queue: ReviewQueue) -> None:
    for body in ({"action": "delete"}, {}, {"action": None}, [1], {"action": "keep", "seen": "x"}):
        assert client.put("/review/items/0", json=body).status_code == 400
    for number in ("4", "999999"):
        assert client.put(f"/review/items/{number}", json={"action": "keep"}).status_code == 404
        assert client.get(f"/review/items/{number}").status_code == 404
        assert client.delete(f"/review/items/{number}").status_code == 404
    for number in ("-1", "x", "9" * 30):
        assert client.get(f"/review/items/{number}").status_code == 400
    assert not queue.place.exists()


def test_texts_are_shown_without_control_characters_and_decided_on_as_they_are(client: Any, queue: ReviewQueue) -> None:
    said = client.get("/review/items/3").json()
    for name in ("query", "positive", "negative"):
        assert "\u202e" not in said[name] and "\x1b" not in said[name]
        assert "<img src=x onerror=" in said[name]
    assert list(said["scores"]) == ["<img src=x onerror='document.title=666'>\\u202e\\u001b[31m"]
    put(client, 3, "positive")
    assert pairs(Decisions.read(queue.place).positive) == {ids_of(suspects()[3])}


def test_a_long_text_is_shown_in_part(place: Path, make: Make) -> None:
    write_suspects([Suspect("q", "p", "n " * 50_000, {}, "above")], place)
    client = make(app={"routers": [review_routes.router(ReviewQueue.open(place))]})
    assert len(client.get("/review/items/0").json()["negative"]) == review_routes.LONGEST + 2


def test_the_page_needs_no_key_and_its_items_do(make: Make, queue: ReviewQueue) -> None:
    app = {"routers": [review_routes.router(queue)], "open_paths": review_routes.OPEN_PATHS}
    client = make(app={**app, "keys": Keys([hashed("k")])})
    for path in ("/review", "/page/review.js", "/page/review.css", "/page/api.js"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert client.get("/review/items/0").status_code == 401
    assert client.put("/review/items/0", json={"action": "keep"}).status_code == 401
    assert client.get("/review/items/0", headers={"Authorization": "Bearer k"}).status_code == 200


def test_the_page_loads_nothing_from_elsewhere_and_reads_no_text_as_html(client: Any) -> None:
    page, script = client.get("/review").text, client.get("/page/review.js").text
    for text in (page, script, client.get("/page/review.css").text):
        assert "//" not in text.replace("// ", "") and "@import" not in text
    assert " style=" not in page and "<script>" not in page
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in script


def test_damaged_decisions_are_told_and_stay_as_they_are(client: Any, queue: ReviewQueue) -> None:
    queue.place.write_text('{"query": "a", "negative": "b", "action": "keep"}\n{"query": ', encoding="utf-8")
    answer = client.put("/review/items/0", json={"action": "keep"})
    assert answer.status_code == 400
    assert "line 2: not JSON" in answer.json()["error"]["message"]
    assert queue.place.read_text(encoding="utf-8").endswith('{"query": ')


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("r.html", "<p>", "no .jsonl file"),
        ("none.jsonl", None, "cannot be read"),
        ("r.jsonl", "", "holds no pair to review"),
        ("r.jsonl", '{"query": "a"}', "line 1: positive: Field required"),
        ("r.jsonl", "\n" + "[" * 5000, "line 2: the line: Invalid JSON"),
        ("r.jsonl", b"\xff\xfe", "cannot be read"),
        (
            "r.jsonl",
            '{"query": 1, "positive": "b", "negative": "c", "scores": {}, "reason": "above"}',
            "query: Input should be a valid string",
        ),
    ],
)
def test_what_is_no_review_is_refused(tmp_path: Path, name: str, text: str | bytes | None, words: str) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=words):
        ReviewQueue.open(tmp_path / name)
