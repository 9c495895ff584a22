"""The page in a headless Chromium, asked as a person asks it, over rows whose texts would like to be scripts."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import numpy as np
import uvicorn

from nearfar.index.index import Index
from nearfar.serving.app import create_app
from nearfar.serving.keys import Keys
from nearfar.serving.served import QueuedModel
from nearfar.serving.service import Service
from nearfar.uses.map import map_of_index
from tests.serving.browser import Tab, tab
from tests.serving.test_operating import KEYS, hashed
from tests.serving.word_model import ServableWords

HOSTILE = "<img src=x onerror='document.title=666'><script>document.title=666</script>\u202e"
ANIMALS = ("fox", "goose", "hen", "pig", "owl")
SHOWN = "[...document.querySelectorAll('#hits h3')].map(one => one.textContent)"


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"id": f"{animal} {i}", "text": f"a red {animal} number {i}. It runs {'far ' * i}away.",
         "kind": animal, "year": 2000 + i, "file": f"{animal}.md", "line": i}
        for animal in ANIMALS for i in range(6)
    ]  # fmt: skip
    odd = {"id": f"x{HOSTILE}", "text": f"a hostile badger. {HOSTILE} It digs.", "kind": HOSTILE, "year": 2000}
    return [*found, odd]


def pictures() -> list[dict[str, Any]]:
    return [{"id": f"grey {shade}", "image": np.full((4, 4, 3), shade, np.uint8)} for shade in (7, 90, 180, 250)]


@contextmanager
def served(folder: Path, keys: Keys | None = None, *, of_pictures: bool = False) -> Iterator[str]:
    """Serve an index of these rows, and return its address."""
    model = ServableWords(dim=24)
    if of_pictures:
        model.encoder.reads = ("image",)
    service = Service.of(model, name="words")
    with Index.create(folder / "animals.index", model) as index:
        index.add(pictures() if of_pictures else rows())
        if of_pictures:  # and a row of an older nearfar, which kept no picture
            index.add([{"id": "old"}], vectors=index.vectors(["grey 7"]))
        map_of_index(index)
    assert service.model is not None
    service.index = Index.open(folder / "animals.index", QueuedModel(service.model))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(service, keys=keys), log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tab]]:
    folder = tmp_path_factory.mktemp("site")
    with tab(folder) as opened, served(folder) as address:
        yield address, opened


@pytest.fixture(params=[1280, 390])
def page(request: pytest.FixtureRequest, site: tuple[str, Tab]) -> Iterator[tuple[str, Tab]]:
    """The page at the width of a desk's screen and of a phone's; after each test it has asked nobody else, and holds.

    Nothing is wider than the window, no script failed, and the policy refused nothing.
    """
    address, opened = site
    opened.size(request.param, 900)
    opened.requests.clear()
    opened.problems.clear()
    yield site
    assert opened.requests and not [
        one for one in opened.requests if not one.startswith((f"{address}/", "data:", f"blob:{address}/"))
    ]
    assert opened.problems == []
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.go("about:blank")


def test_who_types_sees_rows_and_why_they_are_there(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/")
    opened.wait(
        "document.activeElement?.id === 'q' && document.querySelector('#status')?.textContent.includes('31 rows')"
    )
    opened.type("red goose")
    opened.wait(f"{SHOWN}[0]?.startsWith('goose.md:')")
    opened.wait("document.querySelectorAll('#hits li:first-child mark').length === 2")
    assert opened.wait("document.querySelector('#hits li:first-child .sentence')?.textContent").startswith(
        "a red goose"
    )
    assert opened.evaluate("location.hash") == "#q=red+goose"
    assert "of 31 rows" in opened.evaluate("document.querySelector('#status').textContent")
    opened.press("ArrowDown")
    opened.press("ArrowDown")
    assert opened.evaluate("document.activeElement === document.querySelectorAll('#hits > li')[1]")
    opened.press("Enter")
    said = opened.wait("document.querySelector('#hits li:nth-child(2) .explained')?.textContent")
    assert "cosine" in said and "BM25" in said and "goose" in said
    opened.press("Escape")
    assert opened.evaluate("document.querySelector('#why-2').hidden")
    opened.press("Escape")
    assert opened.evaluate("document.activeElement.id") == "q"
    assert opened.evaluate("document.querySelectorAll('[role=status][aria-live=polite], [role=tab]').length") >= 4


def test_values_filter_and_it_is_told_why_nothing_is_left(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/#q=red&where=year+%3E%3D+2004")
    opened.wait(f"{SHOWN}.length === 10")
    opened.evaluate("document.querySelector('#filters').open = true")
    box = "[...document.querySelectorAll('#facets label')].find(one => one.textContent.startsWith('owl'))"
    assert opened.evaluate(f"{box}.textContent") == "owl2"
    opened.evaluate(f"{box}.click()")
    opened.wait(f"JSON.stringify({SHOWN}) === JSON.stringify(['owl.md:4', 'owl.md:5'])")
    assert "f.kind=owl" in opened.evaluate("location.hash")
    opened.evaluate("document.querySelector('#condition').focus()")
    opened.type("year < 2004")
    opened.press("Enter")
    told = opened.wait("!document.querySelector('#why-not').hidden && document.querySelector('#why-not').innerText")
    assert "no row meets all" in told
    opened.wait(f"{SHOWN}.length === 0")
    lines = "[...document.querySelectorAll('#why-not tbody tr')]"
    assert opened.evaluate(f"{lines}.map(line => [...line.cells].slice(0, 3).map(cell => cell.textContent))") == [
        ["year >= 2004", "10", "4"],
        ["year < 2004", "21", "2"],
        ["kind: owl", "6", "0"],
    ]
    opened.evaluate("document.querySelector('#why-not button').click()")
    opened.wait(f"{SHOWN}.length === 4")
    opened.evaluate("history.back()")
    opened.wait("!document.querySelector('#why-not').hidden")
    opened.evaluate("document.querySelector('#condition').focus()")
    opened.type("nothing = 1")
    opened.press("Enter")
    assert "no row has a field" in opened.wait("document.querySelector('#alert:not([hidden])')?.textContent")
    opened.problems.clear()  # the browser notes an answer of 400


# A picture of one shade is dropped on the page, as a person's hand would do it.
DROP = """(async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 6, height: 6 });
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(180, 180, 180)";
  context.fillRect(0, 0, 6, 6);
  const given = new DataTransfer();
  given.items.add(new File([await new Promise(done => canvas.toBlob(done))], "grey.png", { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true });
  document.querySelector("main").dispatchEvent(event);
})()"""


def test_a_picture_that_is_dropped_finds_its_like(site: tuple[str, Tab], tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    _, opened = site
    opened.size(390, 844)
    opened.problems.clear()
    with served(tmp_path, of_pictures=True) as address:
        opened.go(f"{address}/")
        opened.wait("document.querySelector('#status')?.textContent.includes('5 rows')")
        assert not opened.evaluate("document.querySelector('#pick').hidden")
        opened.evaluate(DROP)
        opened.wait(f"{SHOWN}[0] === 'grey 180'")
        shown = "getComputedStyle(document.querySelector('#preview')).display !== 'none'"
        assert opened.evaluate(shown)
        middle = "[...document.querySelector('#preview').getContext('2d').getImageData(36, 36, 1, 1).data]"
        assert opened.evaluate(middle) == [180, 180, 180, 255]
        assert "180" not in opened.evaluate("location.href")
        opened.evaluate("document.querySelector('[data-tab=map]').click()")
        opened.wait("document.querySelector('#map-tab .asked button')?.textContent === 'grey 180'")
        opened.evaluate("document.querySelector('[data-tab=search]').click()")
        opened.evaluate("document.querySelector('#unpick').click()")
        opened.wait(f"{SHOWN}.length === 0")
        assert not opened.evaluate(shown)
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.problems == []
        opened.go("about:blank")


SEEN = "[...document.querySelectorAll('#hits img')].map(one => [one.alt, one.naturalWidth])"
TILES = "[...document.querySelectorAll('#hits > li')]"


@pytest.mark.parametrize("width", [1280, 390])
def test_pictures_are_seen_and_gone_through_by_keys(site: tuple[str, Tab], tmp_path: Path, width: int) -> None:
    pytest.importorskip("PIL.Image")
    _, opened = site
    opened.size(width, 900)
    with served(tmp_path, of_pictures=True) as address:
        opened.requests.clear()
        opened.problems.clear()
        opened.go(f"{address}/#like=grey+90")
        seen = opened.wait(f"{SEEN}.length === 3 && {SEEN}.every(one => one[1] > 0) && {SEEN}")
        assert sorted(seen) == [["grey 180", 4], ["grey 250", 4], ["grey 7", 4]]
        old = f"{TILES}.find(one => one.ariaLabel.endsWith(': old'))"
        assert opened.evaluate(f"{old}.querySelector('.frame-of-picture').textContent") == "No picture is kept"
        assert opened.evaluate("getComputedStyle(document.querySelector('#hits')).display") == "grid"
        # There is nothing to choose where no row has a text or a value.
        assert opened.evaluate(
            "document.querySelector('.how-to-rank').hidden && !document.querySelector('#filters').open"
        )
        assert "no row has a text" in opened.evaluate("document.querySelector('#no-words').textContent")
        opened.evaluate("document.querySelector('#q').focus()")
        opened.press("ArrowDown")
        opened.press("ArrowRight")
        at = f"{TILES}.indexOf(document.activeElement)"
        assert opened.evaluate(at) == 1
        opened.press("ArrowLeft")
        opened.press("ArrowDown")
        columns = opened.evaluate(f"{TILES}.filter(one => one.offsetTop === {TILES}[0].offsetTop).length")
        assert opened.evaluate(at) == (columns if columns < 4 else 0)
        opened.press("Enter")
        assert "cosine" in opened.wait("document.activeElement.querySelector('.explained')?.textContent")
        assert "Words" not in opened.evaluate("document.activeElement.querySelector('.explained').textContent")
        name = opened.evaluate("document.activeElement.querySelector('h3').textContent")
        opened.evaluate("document.activeElement.querySelectorAll('.actions button')[1].focus()")
        assert opened.evaluate("document.activeElement.textContent") == "More like this"
        opened.press("Enter")
        opened.wait(f"decodeURIComponent(location.hash) === '#like={name.replace(' ', '+')}'")
        opened.wait(f"{SEEN}.length >= 3 && {SEEN}.every(one => one[1] > 0)")
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.problems == []
        own = (f"{address}/", "data:", f"blob:{address}/", "about:")
        assert not [one for one in opened.requests if not one.startswith(own)]
        opened.go("about:blank")


def test_the_map_shows_the_picture_of_a_row(site: tuple[str, Tab], tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    _, opened = site
    opened.size(1280, 900)
    with served(tmp_path, of_pictures=True) as address:
        opened.problems.clear()
        opened.go(f"{address}/#tab=map")
        opened.wait("document.querySelectorAll('#table tbody tr').length === 5")
        goes = "[...document.querySelectorAll('#table tbody button')].find(one => one.textContent === {!r}).click()"
        opened.evaluate(goes.format("grey 180"))
        opened.wait("document.querySelector('#tip:not([hidden]) img')?.naturalWidth > 0")
        assert opened.evaluate("document.querySelector('#tip img').alt") == "grey 180"
        opened.evaluate(goes.format("old"))
        opened.wait("document.querySelector('#tip').textContent === 'old'")
        assert not opened.evaluate("document.querySelectorAll('#tip img').length")
        assert opened.problems == []
        opened.go("about:blank")


def test_pictures_are_asked_for_with_the_key(site: tuple[str, Tab], tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    _, opened = site
    opened.size(1280, 900)
    with served(tmp_path, Keys([hashed(KEYS[0])]), of_pictures=True) as address:
        opened.go(f"{address}/#like=grey+90")
        opened.wait("document.querySelector('dialog')?.open && document.activeElement.id === 'key'")
        opened.type(KEYS[0])
        opened.press("Enter")
        opened.wait(f"{SEEN}.length === 3 && {SEEN}.every(one => one[1] > 0)")
        asked = [one for one in opened.requests if "/picture" in one]
        assert asked and not [one for one in asked if KEYS[0] in one]
        opened.go("about:blank")


def test_columns_and_lines_show_what_fusing_moved(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/#q=red+goose+far")
    opened.wait("document.querySelectorAll('#hits > li').length === 10")
    found = opened.evaluate(
        "(async () => (await (await fetch('search', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({text: 'red goose far', k: 10, mode: 'hybrid', explain: true})})).json()).hits)()"
    )
    opened.evaluate("document.querySelector('#fusion').open = true")
    lists = opened.evaluate(
        "[...document.querySelectorAll('#ranks ol')].map(list => [...list.children].map(one =>"
        " [Number(one.dataset.row), parseInt(one.querySelector('b').textContent)]))"
    )
    for leg, shown in zip(("vectors", "fused", "words"), lists, strict=True):
        ranks = [(row, hit["explain"][leg]["rank"]) for row, hit in enumerate(found) if hit["explain"].get(leg)]
        assert [tuple(one) for one in shown] == sorted(ranks, key=lambda one: one[1])
    lines = opened.evaluate(
        "[...document.querySelectorAll('#ranks svg')].map(drawn => [...drawn.children].map(one =>"
        " [Number(one.dataset.row), one.getAttribute('class'), one.y1.baseVal.value, one.y2.baseVal.value]))"
    )
    for (left, right), drawn in zip(itertools.pairwise(lists), lines, strict=True):
        places = [{row: (at + 0.5, rank) for at, (row, rank) in enumerate(side)} for side in (left, right)]
        both = [row for row in places[0] if row in places[1]]
        assert [one[0] for one in drawn] == both
        for row, kind, begins, ends in drawn:
            (y1, rank), (y2, other) = places[0][row], places[1][row]
            assert (begins, ends) == (y1, y2)
            assert kind == ("" if rank == other else "rises" if rank > other else "falls")
    opened.evaluate("document.querySelectorAll('#ranks button')[3].click()")
    assert opened.evaluate("document.activeElement === document.querySelectorAll('#hits > li')[3]")
    opened.evaluate("document.querySelector('[data-mode=words]').click()")
    opened.wait("document.querySelector('#fusion').hidden")


def test_filters_make_the_other_points_of_the_map_faint(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/#tab=map&by=kind&q=red&f.kind=owl")
    told = "[...document.querySelectorAll('#map-tab [role=status]')].map(one => one.textContent).join(' ')"
    opened.wait(f"{told}.includes('6 of the 31 rows meet the conditions')")
    opened.wait("document.querySelector('#count').textContent === '6 rows meet the conditions'")
    names = "[...document.querySelectorAll('#table tbody button')].map(one => one.textContent)"
    assert sorted(opened.evaluate(names)) == [f"owl.md:{i}" for i in range(6)]
    opened.wait("document.querySelectorAll('#map-tab .asked li').length === 6")
    assert opened.wait("document.querySelector('#chips small')?.textContent") == "6"
    opened.evaluate("document.querySelector('#chips button').click()")
    opened.wait("document.querySelector('#count').textContent === 'All 31 rows of the map'")
    opened.wait("document.querySelectorAll('#map-tab .asked li').length === 10")


def test_a_map_that_another_made_meanwhile_is_drawn_before_its_rows_are_told(tmp_path: Path) -> None:
    with served(tmp_path) as address, tab(tmp_path) as opened:
        opened.go(f"{address}/#tab=map&by=kind&q=red")
        opened.wait("document.querySelector('#count')?.textContent === 'All 31 rows of the map'")
        with Index.open(tmp_path / "animals.index", ServableWords(dim=24)) as other:
            other.delete(["owl 0", "owl 1"])
            map_of_index(other)
        opened.go(f"{address}/#tab=map&by=kind&q=red&f.kind=owl")  # the same page, as only what is behind # is another
        opened.wait("document.querySelector('#count')?.textContent === '4 rows meet the conditions'")
        names = "[...document.querySelectorAll('#table tbody button')].map(one => one.textContent)"
        assert sorted(opened.evaluate(names)) == [f"owl.md:{i}" for i in range(2, 6)]
        opened.wait("document.querySelectorAll('#map-tab .asked li').length === 4")
        assert opened.evaluate("document.getElementById('alert').hidden")


def test_the_map_shows_rows_at_the_pointer_and_joins_the_query(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/#tab=map&q=grey+goose&by=kind")
    opened.wait("document.querySelectorAll('#map-tab .asked li').length === 10")
    assert "goose" in opened.evaluate("document.querySelector('#map-tab .asked li').textContent")
    assert "The map keeps" in opened.evaluate("document.querySelector('#map-tab h2').textContent")
    opened.evaluate("document.querySelector('#map').scrollIntoView({block: 'center'})")
    box = opened.evaluate(
        "(r => [r.left, r.top, r.width, r.height])(document.querySelector('#map').getBoundingClientRect())"
    )
    for step in range(2500):  # over the map line by line, until there is a row
        x, y = (step % 50 + 0.5) / 50, (step // 50 + 0.5) / 50
        opened.point(box[0] + x * box[2], box[1] + y * box[3])
        if opened.evaluate("!document.querySelector('#tip').hidden"):
            break
    assert opened.evaluate("document.querySelector('#tip').textContent")
    opened.evaluate("document.querySelector('#map').focus()")
    opened.press("Enter")
    opened.wait("document.querySelector('#count').textContent === '1 row selected'")
    assert opened.evaluate("document.querySelector('#table').tBodies[0].rows.length") == 1
    opened.evaluate("document.querySelector('[data-tab=health]').click()")
    opened.wait("document.querySelector('#health')?.textContent.includes('tokens that the model reads')")
    opened.evaluate("[...document.querySelectorAll('#health button')][0].click()")
    opened.wait("document.querySelector('#health').textContent.includes('Its parts agree')")


def test_no_text_becomes_a_part_of_the_page(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/#q=hostile+badger")
    opened.wait("document.querySelectorAll('#hits mark').length")
    assert HOSTILE in opened.evaluate("document.querySelector('#hits .text').textContent")
    opened.evaluate("document.querySelector('.why').click()")
    opened.evaluate(
        "[...document.querySelectorAll('#facets label')].find(one => one.textContent.startsWith('<img')).click()"
    )
    opened.wait("document.querySelectorAll('#chips button').length")
    opened.evaluate("[...document.querySelectorAll('.actions button')][1].click()")
    opened.wait("location.hash.includes('like=') && document.querySelectorAll('#chips button').length === 2")
    opened.go(f"{address}/#tab=map&by=kind&q=hostile+badger")
    opened.wait("document.querySelectorAll('#map-tab .asked li').length")
    opened.wait("document.querySelector('#table').tBodies[0].rows.length")
    assert opened.evaluate("document.querySelectorAll('main img, main script, #chips img').length") == 0
    assert opened.evaluate("document.title") != "666"


def test_the_description_of_the_interface_is_on_a_page_of_its_own(page: tuple[str, Tab]) -> None:
    address, opened = page
    opened.go(f"{address}/docs")
    opened.wait("document.querySelectorAll('.route').length > 10")
    assert "/facets" in opened.evaluate("document.querySelector('#interface').textContent")


def test_a_key_is_asked_for_and_kept_in_the_tab(site: tuple[str, Tab], tmp_path: Path) -> None:
    _, opened = site
    opened.size(390, 800)
    with served(tmp_path, Keys([hashed(KEYS[0])])) as address:
        opened.go(f"{address}/#q=red+hen")
        opened.wait("document.querySelector('dialog')?.open")
        for key in ("wrong", KEYS[0]):
            opened.wait("document.querySelector('dialog').open && document.activeElement.id === 'key'")
            opened.type(key)
            opened.press("Enter")
            if key == "wrong":
                opened.wait("document.querySelector('#key-note').textContent.includes('does not know')")
        opened.wait(f"{SHOWN}[0]?.startsWith('hen.md:')")
        assert opened.evaluate("Object.values({...sessionStorage})") == [KEYS[0]]
        assert opened.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert KEYS[0] not in opened.evaluate("location.href")
        opened.go("about:blank")
