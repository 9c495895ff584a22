"""nearfar map: an index or a model's data as a page, the numbers that stand with it, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar.uses import map as maps
from nearfar.vectors.kept import neighbours_kept
from nearfar.vectors.projection import principal_axes
from tests.cli.calling import Run
from tests.contracts.samples import write_lines

FACTS = {"out", "rows", "shown", "method", "shares", "neighbours_kept", "by", "values", "kept_in", "fingerprint"}


@pytest.fixture
def texts(here: Path) -> list[dict[str, Any]]:
    """Forty rows in texts.jsonl, a column of which has three values."""
    rows = [
        {"id": f"t{i}", "text": f"the red fox number {i} sees a goose {i % 7}", "kind": "abc"[i % 3]} for i in range(40)
    ]
    write_lines(here / "texts.jsonl", rows)
    return rows


def rows_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="rows">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    rows: dict[str, Any] = json.loads(found[1])
    return rows


def test_data_of_a_model_become_a_page(here: Path, texts: list[dict[str, Any]], nearfar: Run) -> None:
    done = nearfar("map", "model", "texts.jsonl", "--by", "kind", "--query", "a red goose", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert set(facts) == FACTS | {"empty", "query"}
    model = nf.Model.load(str(here / "model"))
    vectors = model.embed([row["text"] for row in texts], role="key")
    places, axes = principal_axes(vectors)
    kept = neighbours_kept(vectors, places)
    assert facts["neighbours_kept"] == {
        "share": pytest.approx(kept.share),
        "by_chance": pytest.approx(10 / 39),
        "of": 10,
        "rows": 40,
    }
    assert facts["shares"] == pytest.approx(axes.shares)
    assert facts["values"] == {"a": 14, "b": 13, "c": 13}
    query = model.embed(["a red goose"], role="query")[0]
    assert facts["query"]["place"] == pytest.approx(axes.places(query[None])[0], abs=1e-5)
    best = np.sort(vectors @ query)[::-1][:10]
    assert [hit["score"] for hit in facts["query"]["nearest"]] == pytest.approx(best, abs=1e-5)
    rows = rows_of(here / "map.html")
    assert (rows["ids"], rows["texts"]) == ([row["id"] for row in texts], [row["text"] for row in texts])
    assert rows["names"] == ["a", "b", "c"]


def test_people_read_what_the_map_keeps(texts: list[dict[str, Any]], nearfar: Run) -> None:
    done = nearfar("map", "model", "texts.jsonl", "--by", "kind", "--most", 20, "--out", "m.html")
    assert done.code == 0, done.err
    assert "40 rows in m.html, 20 of them on the page" in done.out
    assert re.search(r"of each row's 10 nearest neighbours the map keeps [\d.]+ % \(by chance 25\.6 %\)", done.out)
    assert re.search(r"the two axes hold [\d.]+ % of the variance", done.out)
    assert re.search(r"by kind: \w \d+, \w \d+, \w \d+", done.out)


def test_the_map_of_an_index_is_kept_and_made_anew_where_rows_changed(
    here: Path, texts: list[dict[str, Any]], nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nearfar("index", "add", "i.index", "texts.jsonl", "--model", "model").code == 0
    call = ("map", "i.index", "--by", "kind", "--query", "a red goose", "--json")
    first = nearfar(*call)
    assert first.code == 0, first.err
    facts = json.loads(first.out)
    assert set(facts) == FACTS | {"query"}
    assert (here / facts["kept_in"]).is_file()
    page = (here / "map.html").read_bytes()
    with monkeypatch.context() as without:
        without.setattr("nearfar.uses.map.made_map", None)  # it is not called
        again = nearfar(*call)
    assert (again.code, again.out) == (0, first.out), again.err
    assert (here / "map.html").read_bytes() == page
    assert nearfar("index", "delete", "i.index", "t3").code == 0
    changed = nearfar(*call)
    assert (changed.code, json.loads(changed.out)["rows"]) == (0, 39), changed.err
    assert "t3" not in rows_of(here / "map.html")["ids"]
    assert nearfar("index", "verify", "i.index").code == 0
    assert "kept in i.index/generations/000001/map-pca.parquet" in nearfar("map", "i.index").out


def test_an_index_and_its_data_have_the_same_map(here: Path, texts: list[dict[str, Any]], nearfar: Run) -> None:
    assert nearfar("index", "add", "i.index", "texts.jsonl", "--model", "model").code == 0
    of_index, of_data = (
        json.loads(nearfar("map", *words, "--json").out) for words in (["i.index"], ["model", "texts.jsonl"])
    )
    assert of_index["shares"] == pytest.approx(of_data["shares"], rel=1e-4)
    assert of_index["fingerprint"] == of_data["fingerprint"]
    assert of_index["neighbours_kept"]["share"] == pytest.approx(of_data["neighbours_kept"]["share"], abs=0.01)


def test_an_index_that_cannot_be_written_has_a_map_that_is_not_kept(
    texts: list[dict[str, Any]], nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nearfar("index", "add", "i.index", "texts.jsonl", "--model", "model").code == 0

    def refuse(*_: object) -> None:
        raise nf.errors.InputError("i.index: is not writable")

    monkeypatch.setattr(maps, "keep_map", refuse)
    done = nearfar("map", "i.index", "--json")
    assert (done.code, json.loads(done.out)["kept_in"]) == (0, None)
    assert "the map is not kept: i.index: is not writable" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model",), ["model: is no index", "give the data, too"]),
        (("nowhere", "texts.jsonl"), ["nowhere"]),
        (("model", "none.jsonl"), ["none.jsonl: no such file"]),
        (("model", "texts.jsonl", "--by", "kinds"), ["texts.jsonl: 'kinds': no such column", "kind"]),
        (("model", "texts.jsonl", "--model", "x"), ["leave out --model"]),
        (("model", "texts.jsonl", "--method", "tsne"), ["--method tsne: no such one"]),
        (("model", "texts.jsonl", "--most", "0"), ["--most 0"]),
        (("model", "texts.jsonl", "--query", " "), ["--query: the query is empty"]),
        (("model", "texts.jsonl", "--out", "map.png"), ["map.png: the map is a page", ".html"]),
        (("model", "two.txt"), ["a map needs at least 3 vectors, there are 2"]),
        (("i.index", "texts.jsonl"), ["i.index: is an index", "leave out 'texts.jsonl'"]),
        (("i.index", "--column", "text"), ["i.index: is an index", "leave out --column"]),
        (("i.index", "--by", "kinds"), ["i.index: 'kinds': no such field", "kind"]),
    ],
)
def test_bad_input_is_refused(
    here: Path, texts: list[dict[str, Any]], nearfar: Run, words: tuple[str, ...], said: list[str]
) -> None:
    (here / "two.txt").write_text("one text\nanother text\n")
    assert nearfar("index", "add", "i.index", "texts.jsonl", "--model", "model").code == 0
    nearfar("map", *words).refused(*said)
    assert not (here / "map.html").exists()


def test_pictures_are_mapped_by_their_classes(tmp_path: Path, nearfar: Run) -> None:
    pytest.importorskip("PIL.Image", reason="the extra images is not installed")
    from nearfar.data.images import Images
    from nearfar.evaluation import sources
    from tests.data.test_archives import in_folder
    from tests.pictures.samples import encoded, noise

    in_folder(
        tmp_path / "set", {f"{name}/{i}.png": encoded(noise(i, 9, 9)) for name in ("cat", "dog") for i in range(4)}
    )
    labels = sources.values(str(tmp_path / "set"), "label", split=None)
    images = Images(str(tmp_path / "set"))
    paths = images.column("path").read(0, len(images))
    shown = maps.rows_of_cells(images.column("image"), np.arange(8), np.array([1, 5]), "label", labels, paths)
    assert shown.texts == [paths[1], paths[5]]
    assert [str(value) for value in shown.values or []] == [Path(text).parent.name for text in shown.texts]
