"""Sheets on pages: what is right and wrong differs without colour, nothing foreign gets in, and a page stays small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.pictures.sprite import Sprite, sprite
from nearfar.reports.run import page, write_page
from nearfar.reports.sheets import Sprites, apart, pictures_of, view_sheet, write_pictures
from nearfar.reports.views import sheet_facts
from nearfar.storage.folders import write_json
from nearfar.training.seen_views import SeenExample, SeenView
from tests.reports.test_run import Elements, results, text

pytest.importorskip("PIL.Image", reason="the extra images is not installed")
EVIL = "<script>alert(1)</script>\x1b[31m" + "w" * 10_000


def noise(count: int, side: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))


def tiles(count: int, side: int = 32, seed: int = 0) -> Sprite:
    made = sprite(noise(count, side, seed))
    assert made is not None
    return made


def sheet(made: Sprite, **more: Any) -> dict[str, Any]:
    found = [
        {"tile": 1, "text": "cat", "right": True, "score": 0.93},
        {"tile": 2, "text": "dog", "right": False, "score": 0.9},
    ]
    query = {"tile": 0, "text": "cat", "right": 1, "rank": 1, "found": found}
    groups = [{"name": name, "queries": [query]} for name in ("worst", "drawn", "best", "odd")]
    return {**made.layout("neighbours"), "kind": "labels", "searched": 2000, "of": 9000, "groups": groups, **more}


def shown(given: dict[str, Any], made: Sprite) -> str:
    return page(results() | {"sheet": given}, [], pictures={made.file("neighbours"): made.data})


def test_right_and_wrong_have_marks_words_and_frames() -> None:
    html = shown(sheet(made := tiles(4)), made)
    elements = Elements(html)
    assert elements.open == []
    labels = [given["aria-label"] for _, given in elements.found if given.get("role") == "img" and "style" in given]
    assert labels == ["query: cat", "neighbour 1, right: cat", "neighbour 2, wrong: dog"] * 3
    assert [given.get("class") for tag, given in elements.found if tag == "li" and given.get("class")] == [
        "right", "wrong"] * 3  # fmt: skip
    seen = text(html)
    assert seen.index("Drawn by the seed") < seen.index("Among the best") < seen.index("Among the worst")
    assert "1 of 2 right" in seen and "✓ cat" in seen and "✗ dog" in seen
    assert "Best and worst of 2,000 of 9,000 pictures." in seen
    styles = html[: html.index("</style>")]
    assert "border-style: solid" in styles and "border-style: dashed" in styles


def test_a_tile_stands_at_its_place() -> None:
    tile = Sprites({(made := tiles(5)).file("a"): made.data}).of(made.layout("a"))
    assert tile is not None
    places = [tile(i) for i in range(6)]
    assert [(one.x, one.y) for one in places if one] == [(0, 0), (50, 0), (100, 0), (0, 100), (50, 100), (100, 100)]
    assert [tile(wrong) for wrong in (6, -1, None, "1", True, 1.0)] == [None] * 6


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/passwd"}, {"file": 3}, {"file": "neighbours-0123456789abcdef.webp"}, {"tile": 0},
        {"columns": "2"}, {"rows": 10**9}, {"groups": "no"}, {"groups": [{"name": "best", "queries": [{"found": 3}]}]},
        {"groups": [{"name": "best", "queries": [{"tile": 0, "found": [{"tile": 99}]}]}]},
    ],
)  # fmt: skip
def test_a_sheet_that_is_odd_is_not_shown(change: dict[str, Any]) -> None:
    html = shown(sheet(made := tiles(4), **change), made)
    assert Elements(html).open == []
    assert "nearest neighbours" not in text(html)


def test_what_comes_from_data_is_escaped() -> None:
    made = tiles(4)
    given = sheet(made)
    for group in given["groups"]:
        group["queries"] = [{**group["queries"][0], "text": EVIL, "found": [{"tile": 1, "text": EVIL, "right": True}]}]
    html = shown(given, made)
    assert Elements(html).open == []
    assert "<script>alert" not in html and "\x1b" not in html and len(html) < 100_000 + 2 * len(made.data)


def test_captions_that_pictures_found_are_lines_with_marks_and_the_worst_are_not_said_twice() -> None:
    made = tiles(2)
    found = [{"tile": None, "text": "a <dog>", "right": True, "score": 0.4}, {"tile": None, "text": EVIL, "score": 0.3}]
    query = {"tile": 0, "text": "", "right": 1, "rank": 1, "found": found}
    missed = {"tile": 1, "found": found[1:], "expected": {"tile": None, "text": "its <own>"}}
    groups = [{"name": "drawn", "queries": [query]}, {"name": "worst", "queries": [missed]}]
    html = shown(sheet(made, kind="retrieval", groups=groups), made)
    elements = Elements(html)
    assert elements.open == []
    seen = text(html)
    assert "captions found for them" in seen and "a &lt;dog&gt;" in html and "its &lt;own&gt;" in html
    assert "<script>alert" not in html and "\x1b" not in html
    listed = [given.get("class") for tag, given in elements.found if tag == "li" and given.get("class")]
    assert listed == ["right", "wrong", "wrong", "expected"]
    assert [given["aria-label"] for tag, given in elements.found if tag == "i" and given.get("role")] == [
        "right", "wrong", "wrong"]  # fmt: skip
    assert "worst of the wrong answers" not in seen
    assert "worst of the wrong answers" in text(page(results(), []))
    asked = {**query, "tile": None, "text": "a dog", "found": [{"tile": 1, "text": "", "right": True, "score": 0.4}]}
    html = shown(sheet(made, kind="retrieval", groups=[{"name": "drawn", "queries": [asked]}]), made)
    assert "Words and the pictures found by them" in text(html)


def test_a_map_of_two_kinds_has_two_marks_their_centres_and_thumbnails_of_the_pictures() -> None:
    made = tiles(2)
    points = {"x": [0.0, 0.2, 1.0, 1.2], "y": [0.0, 0.2, 1.0, 1.2], "group": [0, 0, 1, 1]}
    groups = {"groups": ["queries (image)", "documents (text)"], "text": ["", "", "a <dog>", "b"], "pairs": [[0, 2]]}
    given = {"dim": 9, "of": 9, "shares": [0.2, 0.1], **points, **groups, "tiles": [0, 1, None, None]}
    both = results() | {"projection_map": {**given, **made.layout("map")}}
    both["protocol"] = {**both["protocol"], "kinds": {"queries": "image", "documents": "text"}}
    html = page(both, [], pictures={made.file("map"): made.data})
    elements = Elements(html)
    assert elements.open == []
    marks = [(tag, given) for tag, given in elements.found if "point" in str(given.get("class"))]
    assert [tag for tag, _ in marks] == ["circle", "circle", "rect", "rect"]
    assert ["data-sprite" in given for _, given in marks] == [True, True, False, False]
    centres = [str(given["data-tip"]) for _, given in elements.found if "centre" in str(given.get("class"))]
    assert centres == ["centre of the queries (image)", "centre of the documents (text)"]
    assert 'class="thumb ' not in html and "modality gap" in text(html)
    one_kind = page(results() | {"projection_map": given}, [])
    assert "centre of the" not in one_kind and " square" not in one_kind[one_kind.index("Map of vectors") :]


def test_views_and_map_of_pictures() -> None:
    cells = noise(3, 32)
    examples = [SeenExample(4, 5, [SeenView("view", 0, cells[1], cells[0]), SeenView("view 2", 0, cells[2], cells[0])])]
    facts, files = sheet_facts(examples, ["cat/1.png"])
    made = tiles(5)
    points = {"x": [0.1, 0.2, -0.3], "y": [0.0, 0.5, 0.1], "group": [0, 1, 1], "text": ["", "", ""], "kept": 0.42}
    given = {"dim": 9, "of": 9, "shares": [0.2, 0.1], "groups": ["cat", "dog"], "pairs": [], **points}
    html = page(results() | {"views": facts, "projection_map": {**given, **made.layout("map")}}, [],
                pictures={**files, made.file("map"): made.data})  # fmt: skip
    labels = [str(given.get("aria-label")) for tag, given in Elements(html).found if tag == "span"]
    assert {"source, cat/1.png", "view of cat/1.png", "view 2 of cat/1.png", "cat", "dog"} <= set(labels)
    assert "as the network got them, 32 x 32 pixels" in text(html)
    assert "10 nearest neighbours among those shown, the map keeps 42 % (by chance 100 %)" in text(html)
    assert html.count('class="thumb ') == 3 and html.count("data-sprite=") == 6  # of the dots, too


@pytest.mark.parametrize(("examples", "views"), [(64, 63), (2, 200)])
def test_a_sheet_of_views_shows_as_many_as_a_sprite_has(examples: int, views: int) -> None:
    cell = noise(1, 4)[0]
    given = [SeenExample(i, i + 1, [SeenView("view", 0, cell, cell)] * views) for i in range(examples)]
    facts, files = sheet_facts(given, [""] * examples)
    sheet = view_sheet(facts, Sprites(files))
    assert sheet is not None and [len(one["views"]) for one in sheet["examples"]] == [views] * examples


def test_a_view_fills_its_tile_and_a_larger_source_is_reduced_to_it() -> None:
    (source,), (view,) = noise(1, 100), noise(1, 64)
    facts, _ = sheet_facts([SeenExample(0, 1, [SeenView("view", 0, view, source)])], [""])
    assert (facts["tile"], facts["sizes"]) == (64, [64])


def test_thumbnails_do_not_cover_each_other() -> None:
    assert apart([(0, 0), (0.01, 0.01), (0.1, 0), (0.1, 0.2), (0.05, 0.0)], 0.05, 0.1) == [0, 2, 3, 4]


def test_a_page_stays_below_five_megabytes_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    many = [tiles(324, 64, seed) for seed in range(4)]  # noise, which nothing compresses
    assert sum(len(one.data) for one in many) > 3_200_000
    pictures = {one.file("neighbours"): one.data for one in many}
    facts = {**results(), "sheet": sheet(many[0])}
    facts |= {f"split{i}": {**results(), "sheet": sheet(one)} for i, one in enumerate(many[1:])}
    write_json(tmp_path / "results.json", facts)
    write_pictures(tmp_path, pictures)
    (tmp_path / "pictures" / "notes-1.txt").write_text("mine")
    assert pictures_of(tmp_path) == pictures
    html = write_page(tmp_path).read_text("utf-8")
    assert len(html) < 5_000_000
    assert 1 <= html.count("data:image/") < 4
