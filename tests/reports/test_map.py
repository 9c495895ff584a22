"""The page of a map: what it says, what it carries, that hostile texts are shown and do nothing."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.reports.map import MOST, MapQuery, MapRows, beginning, page, rows_shown
from nearfar.vectors.corpus_map import CorpusMap, map_of
from nearfar.vectors.kept import NeighboursKept
from tests.reports.chromium import dumped

EVIL = '</script><img src=x onerror="alert(1)">{{ 7*7 }} <b>\x1b[2J\u202e'


def made(n: int = 40) -> CorpusMap:
    vectors = np.random.default_rng(0).standard_normal((n, 5))
    return map_of(vectors, [f"row-{i}" for i in range(n)])


def carried(html: str) -> dict[str, Any]:
    """Return the rows that a page carries, as its script reads them."""
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    rows: dict[str, Any] = json.loads(found[1])
    return rows


def numbers(packed: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(packed), kind)


def test_places_travel_as_whole_numbers_of_one_scale() -> None:
    given = made()
    rows = carried(page(given, MapRows(np.arange(40), ["text"] * 40), "corpus"))
    xy = numbers(rows["xy"], "<u2").reshape(40, 2)
    extent = np.ptp(given.places, axis=0).max()
    expected = (given.places - given.places.min(0)) / extent * 65535
    assert np.abs(xy - expected).max() <= 0.51
    assert (xy.min(), xy.max()) == (0, 65535)
    assert (rows["colours"], rows["query"], rows["by"]) == (["--model"], None, None)
    assert rows["ids"] == list(given.ids)


def test_the_commonest_eight_values_have_colours_and_the_rest_is_grey() -> None:
    values = [f"v{i % 10}" for i in range(30)] + ["v7"] * 5 + [None] * 5
    html = page(made(), MapRows(np.arange(40), [""] * 40, "kind", values), "corpus")
    rows = carried(html)
    assert rows["names"][:2] == ["v7", "(none)"]
    assert sorted(rows["names"]) == sorted({*map(str, values[:30]), "(none)"})
    assert [rows["names"][i] for i in numbers(rows["value"], "<u4")] == [value or "(none)" for value in values]
    assert rows["colours"] == [*(f"--g{i}" for i in range(8)), "--grey"]
    assert rows["rest"] == 8
    assert "3 more groups" in html
    assert html.count("data-group=") == 9
    few = carried(page(made(), MapRows(np.arange(40), [""] * 40, "kind", [i % 2 for i in range(40)]), "corpus"))
    assert (few["colours"], few["rest"], few["names"]) == (["--g0", "--g1"], -1, ["0", "1"])


def test_what_the_map_keeps_stands_with_chance_and_the_method() -> None:
    rows = MapRows(np.arange(3), [""] * 3)
    places = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    html = page(CorpusMap("umap", ["a", "b", "c"], places, None, NeighboursKept(0.314, 0.0021, 10, 3)), rows, "corpus")
    assert "keeps 31 % of who is near whom" in html
    assert "chance would give 0.2 %" in html
    assert "UMAP" in html and "principal component" not in html
    html = page(made(), MapRows(np.arange(40), [""] * 40), "corpus")
    assert "principal component" in html and "UMAP" not in html


def test_a_query_is_placed_with_its_nearest_rows() -> None:
    given = made()
    query = MapQuery("words", given.places[7] + np.array([100.0, 0]), np.array([30, 4]), np.array([0.9, 0.81]))
    shown = rows_shown(40, query, most=6)
    assert len(shown) == 6 and {4, 30} <= set(shown.tolist())
    html = page(given, MapRows(shown, [f"text {i}" for i in shown]), "corpus", query)
    rows = carried(html)
    assert [rows["ids"][at] for at in rows["query"]["rows"]] == ["row-30", "row-4"]
    assert rows["query"]["x"] > 65535  # outside of the rows
    assert re.search(r"0\.900</data><b>row-30</b> text 30", html)
    assert "6 of 40 rows" in html


def test_a_large_map_shows_a_sample_that_is_always_the_same() -> None:
    assert rows_shown(40, None).tolist() == list(range(40))
    drawn = rows_shown(MOST + 10, None)
    assert len(drawn) == MOST and (np.diff(drawn) > 0).all()
    assert drawn.tolist() == rows_shown(MOST + 10, None).tolist()


@pytest.mark.parametrize("text", ["", "short", "x" * 100, "y" * 101, "語" * 90, "a b " * 500, "\U0001f98a" * 99])
def test_texts_are_cut_to_a_beginning(text: str) -> None:
    cut = beginning(text)
    assert len(cut) <= 100 and len(cut.encode()) <= 160
    assert cut == text or (cut.endswith(" …") and text.startswith(cut[:-2]))


def test_a_page_of_fifty_thousand_rows_is_small() -> None:
    n = MOST
    places = np.random.default_rng(0).random((n, 2), np.float32)
    given = CorpusMap("umap", [f"row-{i:09}" for i in range(n)], places, None, NeighboursKept(0.1, 0.1, 10, 10))
    html = page(given, MapRows(np.arange(n), ["語" * 200] * n, "by", ["v"] * n), "corpus")
    assert len(html.encode()) < 15e6


def hostile() -> str:
    given = map_of(np.eye(4), [EVIL, "b", "c", "d"])
    query = MapQuery(EVIL, given.places[0].astype(np.float64), np.array([0]), np.array([1.0]))
    return page(given, MapRows(np.arange(4), [EVIL] * 4, EVIL, [EVIL, "1", None, "2"]), EVIL, query)


def test_hostile_texts_are_escaped() -> None:
    html = hostile()
    assert "<img" not in html and "\x1b" not in html and "\u202e" not in html
    assert len(re.findall("</script>", html)) == 2
    assert "style=" not in html.replace('<meta http-equiv="Content-Security-Policy"', "")
    assert "49" not in html.split('id="rows">')[1].split("</script>")[0]
    rows = carried(html)
    assert rows["texts"][1].startswith("</script><img src=x")


def test_the_page_runs_under_its_own_policy(tmp_path: Path) -> None:
    found = dumped(hostile(), tmp_path)
    body = found.split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr>") == 4
    assert "&lt;/script&gt;&lt;img src=x" in body and "<img" not in body
    assert "All 4 rows of the map" in found
