"""The page of a review in a headless Chromium, decided on by keys alone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import uvicorn

from nearfar.mining.review_file import write_suspects
from nearfar.mining.suspects import Suspect
from nearfar.positives.relations.decisions import Decisions
from nearfar.serving import review_routes
from nearfar.serving.app import create_app
from nearfar.serving.review_queue import ReviewQueue
from nearfar.serving.service import Service
from tests.serving.browser import Tab, tab
from tests.serving.test_review import ids_of, pairs, suspects
from tests.serving.word_model import ServableWords

COUNT = 10
AT = "document.getElementById('place')?.textContent"


@contextmanager
def served(folder: Path, some: list[Suspect]) -> Iterator[tuple[str, ReviewQueue]]:
    """Serve a review of these, and return its address and its queue."""
    write_suspects(some, folder / "r.jsonl")
    queue = ReviewQueue.open(folder / "r.jsonl")
    service = Service.of(ServableWords(), name="words")
    app = create_app(service, routers=[review_routes.router(queue)], open_paths=review_routes.OPEN_PATHS)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", queue
        server.should_exit = True
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, ReviewQueue]]:
    with served(tmp_path, suspects(COUNT)) as found:
        yield found


def at(page: Tab, number: int) -> Any:
    """Wait until an item is shown, and nothing is asked of the server any more."""
    return page.wait(f"{AT} === '{number} of {COUNT}'")


@pytest.mark.slow
def test_ten_are_decided_by_keys(site: tuple[str, ReviewQueue], tmp_path: Path) -> None:
    address, queue = site
    with tab(tmp_path) as page:
        page.size(390, 844)
        page.go(f"{address}/review")
        at(page, 1)
        keys = "adkadkadka"
        for number, key in enumerate(keys, 1):
            page.press(key)
            if number < COUNT:
                at(page, number + 1)
        page.wait("document.getElementById('said')?.textContent.endsWith('All are decided.')")
        actions = [{"a": "positive", "d": "drop", "k": "keep"}[key] for key in keys]
        assert queue.actions() == actions
        all_of, found = suspects(COUNT), Decisions.read(queue.place)
        assert pairs(found.positive) == {ids_of(one) for one, key in zip(all_of, keys) if key == "a"}
        assert pairs(found.dropped) == {ids_of(one) for one, key in zip(all_of, keys) if key == "d"}
        assert page.evaluate("document.getElementById('query').textContent").startswith("q <img src=x")
        assert page.evaluate("document.querySelectorAll('main img').length") == 0
        page.press("u")  # the last one
        page.wait("document.getElementById('said').textContent.startsWith('Taken back. 9 of 10')")
        assert page.evaluate("location.hash") == "#10"
        page.press("u")  # and the one before, on which the page is then
        at(page, 9)
        assert queue.actions() == [*actions[:8], None, None]
        assert page.evaluate("document.activeElement.id") == "query"
        page.go(f"{address}/review#4")  # the place is in the address
        at(page, 4)
        assert page.evaluate("document.querySelector('[aria-pressed=true]').dataset.action") == "positive"
        page.press("ArrowRight")
        at(page, 5)
        page.evaluate("history.back()")
        at(page, 4)
        page.press("n")
        at(page, 9)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.problems == []
        assert all(url.startswith((address, "data:", "about:")) for url in page.requests)


def test_a_listed_pair_is_dropped_or_kept(tmp_path: Path) -> None:
    alone = Suspect("a question", "", "its answer", {}, "It looks unrelated: cosine 0.01.", listed=True)
    copy = Suspect("another", "an earlier one\nwith its answer", "its answer", {}, "Nearly a copy.", listed=True)
    with served(tmp_path, [alone, copy]) as (address, queue), tab(tmp_path) as page:
        page.size(390, 844)
        page.go(f"{address}/review")
        page.wait(f"{AT} === '1 of 2'")
        shown = "[...document.querySelectorAll('.pair section, [data-action]')].filter(one => !one.hidden)"
        assert page.evaluate(f"{shown}.map(one => one.dataset.action ?? one.innerText.split('\\n')[0])") == [
            "Its answer in the data: does it answer?", "drop", "keep",
        ]  # fmt: skip
        page.press("a")  # it is one already
        page.press("d")
        page.wait(f"{AT} === '2 of 2'")
        assert page.evaluate(f"{shown}.length") == 4 and queue.actions() == ["drop", None]
        page.press("k")
        page.wait("document.getElementById('said').textContent.endsWith('All are decided.')")
        assert queue.actions() == ["drop", "keep"]
        assert pairs(Decisions.read(queue.place).dropped) == {ids_of(alone)}
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.problems == []


def test_who_decides_second_sees_what_the_first_decided(site: tuple[str, ReviewQueue], tmp_path: Path) -> None:
    address, queue = site
    with tab(tmp_path) as page:
        page.go(f"{address}/review")
        at(page, 1)
        queue.decide(0, "drop")  # in another tab
        page.press("k")
        page.wait("document.getElementById('alert').textContent.includes('somebody else decided: drop')")
        at(page, 1)
        assert page.evaluate("document.querySelector('[aria-pressed=true]').dataset.action") == "drop"
        assert queue.actions()[0] == "drop"
        page.press("k")  # now that it is seen
        at(page, 2)
        assert page.evaluate("document.getElementById('alert').hidden")
        queue.decide(0, "positive")
        page.press("u")
        page.wait("!document.getElementById('alert').hidden")
        at(page, 1)
        assert queue.actions()[0] == "positive"
