"""`nearfar views` and the audit of pictures: sheets and texts before anyone trains, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import Run
from tests.cli.test_pictures import coloured
from tests.contracts.samples import write_lines
from tests.data.test_archives import in_folder
from tests.pictures.samples import encoded, noise
from tests.reports.test_run import Elements, text

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")
SMALL = ("training.batch_size=8", "encoder.size=32", "data.heldout=0")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    return in_folder(tmp_path / "set", {f"{kind}/{i}.png": encoded(noise(i + 50 * (kind == "b"), 40, 40))
                                        for kind in "ab" for i in range(8)})  # fmt: skip


def test_a_page_shows_each_source_and_its_views(pictures: Path, nearfar: Run) -> None:
    done = nearfar("views", "simclr", "data.path=set", *SMALL, "-n", "3", "--epochs", "2", "--out", "v.html", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["out"], facts["pairs"], facts["sizes"], len(facts["examples"])) == ("v.html", 16, [32], 3)
    assert [view["name"] for view in facts["examples"][0]["views"]] == ["epoch 1", "epoch 1", "epoch 2", "epoch 2"]
    html = Path("v.html").read_text("utf-8")
    elements = Elements(html)
    assert elements.open == []
    labels = [given["aria-label"] for tag, given in elements.found if given.get("role") == "img"]
    assert len(labels) == 3 * (1 + 4)
    assert f"source, {facts['examples'][0]['name']}" in labels
    assert facts["examples"][0]["name"] in text(html)
    assert "http" not in html.replace("http-equiv", "") and "<script" not in html


def test_a_png_is_the_same_sheet(pictures: Path, nearfar: Run) -> None:
    assert nearfar("views", "simclr", "data.path=set", *SMALL, "-n", "4", "--out", "v.png").out == "views  v.png\n"
    first = Path("v.png").read_bytes()
    with pillow.open("v.png") as image:
        assert image.size[0] > image.size[1] > 4 * 64
    assert nearfar("views", "simclr", "data.path=set", *SMALL, "-n", "4", "--out", "v.png").code == 0
    assert Path("v.png").read_bytes() == first


def test_texts_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nearfar: Run) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"w{i}" for i in range(40)]
    write_lines(tmp_path / "t.jsonl", [{"text": f"row {i} " + " ".join(words)} for i in range(20)])
    recipe = "data: {name: table, path: t.jsonl}\npositives: {name: views, views: [{name: text_crop, times: 2}]}\n"
    recipe += "encoder: {name: static, dim: 16, vocabulary: 300}\nloss: {name: infonce}\ntraining: {batch_size: 8}\n"
    (tmp_path / "crops.yaml").write_text(recipe)
    done = nearfar("views", "crops.yaml", "-n", "2", "--epochs", "1")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("row ") and lines[1].startswith("  source  row ")
    source = lines[1].removeprefix("  source  ")
    views = [line.split("  ", 2)[2] for line in lines[2:4]]
    assert views[0] != views[1] and all(view in source for view in views)
    assert not Path("runs").exists() or not list(Path("runs").glob("*.html"))
    facts = json.loads(nearfar("views", "crops.yaml", "-n", "2", "--epochs", "1", "--json").out)
    assert facts["out"] is None and facts["examples"][0]["views"][0]["text"] == views[0]


def test_more_pictures_than_a_sheet_holds_are_refused(pictures: Path, nearfar: Run) -> None:
    done = nearfar("views", "simclr", "data.path=set", *SMALL, "positives.views.0.times=33", "--epochs", "16")
    assert done.code == 2 and "4,232 cells" in done.err and "fewer" in done.err


def test_what_has_no_views_or_no_place_is_refused(pictures: Path, nearfar: Run) -> None:
    write_lines(Path("faq.jsonl"), [{"query": f"q {i}", "key": f"k {i}"} for i in range(30)])
    nearfar("views", "static", "data.path=faq.jsonl").refused("static: no view is changed by an augmentation")
    nearfar("views", "simclr", "data.path=set", "--out", "v.gif").refused("v.gif", ".html or .png")
    nearfar("views", "simclr", "data.path=nowhere.zip").refused("nowhere.zip")
    nearfar("views", "simclr", "data.path=set", "positives.views.0.scale=[2,3]").refused("scale must be a range")


def test_pictures_are_audited_and_shown(pictures: Path, nearfar: Run) -> None:
    (pictures / "b" / "again.png").write_bytes((pictures / "a" / "1.png").read_bytes())
    done = nearfar("audit", "set", "--out", "a.html", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert {one["check"] for one in facts["findings"]} >= {"duplicates", "conflicting labels"}
    html = Path("a.html").read_text("utf-8")
    elements = Elements(html)
    assert elements.open == []
    labels = [given["aria-label"] for _, given in elements.found if given.get("role") == "img"]
    assert any("again.png" in str(label) for label in labels) and "data:image/" in html
    assert "equal pixels" in text(html) and "17 pictures compared" in text(html)
    assert "Classes of label" in text(html)
    assert "rows: b/again.png like a/1.png" in nearfar("audit", "set", "--out", "a.html").out
    (pictures / "b" / "broken.png").write_bytes(b"no")
    assert "rows: b/broken.png\n" in nearfar("audit", "set", "--out", "a.html").out
    assert "b/broken.png" in text(Path("a.html").read_text("utf-8"))
    nearfar("audit", "set", "--fix", "clean").refused("set: holds pictures; --fix is for tables")
    nearfar("audit", "set", "--fix-near").refused("set: holds pictures; --fix-near is for tables")
    nearfar("audit", "set", "data.limit=5").refused("set: an audit compares all pictures; leave data.limit out")
    write_lines(Path("faq.jsonl"), [{"query": f"q {i}", "key": f"k {i}"} for i in range(30)])
    nearfar("audit", "faq.jsonl", "--mirrored").refused("--mirrored is for pictures")


def test_evaluate_writes_a_page_with_neighbours(pictures: Path, nearfar: Run) -> None:
    in_folder(pictures.parent / "judged", coloured("train/") | coloured("test/", start=100))
    done = nearfar(
        "train", "simclr", "data.path=judged", *SMALL, "data.heldout=0.2", "training.steps=2", "--out", "r", "-q"
    )
    assert done.code == 0, done.err
    results = json.loads(Path("r/results.json").read_text())
    assert {results[key]["file"] for key in ("sheet", "projection_map", "views")} == {
        file.name for file in Path("r/pictures").iterdir()
    }
    html = Path("r/report.html").read_text("utf-8")
    assert html.count("data:image/") == 3 and len(html) < 5_000_000
    assert "What it saw in training" in text(html) and "the map keeps" in text(html)
    assert nearfar("evaluate", "r/model", "judged", "--page", "e.html").code == 0
    page = Path("e.html").read_text("utf-8")
    labels = [str(given.get("aria-label")) for _, given in Elements(page).found if given.get("role") == "img"]
    assert any(label.startswith("neighbour 1, right: ") for label in labels)
    assert any(label.startswith("query: ") for label in labels)
    assert page.count("data:image/") == 2
    before = {file.name for file in Path("r/pictures").iterdir()}
    again = nearfar("train", "simclr", "data.path=judged", *SMALL, "data.heldout=0.2", "training.steps=2",
                    "training.seed=3", "--out", "r", "--overwrite", "-q")  # fmt: skip
    assert again.code == 0, again.err
    assert len(list(Path("r/pictures").iterdir())) == 3 and before != {f.name for f in Path("r/pictures").iterdir()}
