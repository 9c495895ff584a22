"""Documents in a real index: made, brought up to date, killed and gone on with, filled anew by another model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.index.documents import embed_files
from nearfar.index.documents.build import BuildSettings
from nearfar.index.documents.build_index import NewIndex, build_index
from nearfar.index.index import Index
from tests.index.documents.parts import CountingModel

MODEL = CountingModel()
ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("NEARFAR_KILLS", "1"))  # of builds, each a little later than the one before


def documents(place: Path) -> Path:
    docs = place / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.txt").write_text("a red fox\n\n\nthe end")
    (docs / "sub" / "b.md").write_text("a grey goose")
    (docs / "c.csv").write_text("text,year\npull near,1999\npush far,2020\n")
    return docs


def test_documents_are_found_by_their_fields(tmp_path: Path) -> None:
    docs = documents(tmp_path)
    folder = docs / "docs.index"  # among the documents, and no document
    settings = BuildSettings(kinds={"year": "integer"})
    report, waits = build_index(folder, MODEL, docs, settings, NewIndex({"precision": "float16"}, language=None))
    assert (report.passages, report.problems, waits) == (4, [], False)
    with Index.open(folder, MODEL) as index:
        assert [hit.text for hit in index.search("fox", where="file starts with 'sub/'")] == ["a grey goose"]
        [hit] = index.search("far", where="year >= 2000")
        assert (hit.text, hit.fields["file"], hit.fields["line"]) == ("push far", "c.csv", 3)
        assert index.description.built_from == {"path": str(docs), "column": None, "tokens": 256}
        assert index.verify()["problems"] == []
    (docs / "sub" / "b.md").unlink()
    (docs / "c.csv").write_text("text,year\npush far,2020\n")
    report, _ = build_index(folder, MODEL, docs, settings)
    assert (report.removed, report.deleted, report.updated, report.embedded) == (1, 2, 1, 0)
    with Index.open(folder, MODEL) as index:
        assert sorted(str(row.fields["file"]) for row in index.get(index.ids()) if row) == ["a.txt", "c.csv"]
        assert index.verify()["problems"] == []


def test_nothing_is_made_of_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"holds no file to index|no such file or folder"):
            build_index(tmp_path / "docs.index", MODEL, path)
        assert not (tmp_path / "docs.index").exists()


def test_another_model_fills_a_generation_beside(tmp_path: Path) -> None:
    docs, folder = documents(tmp_path), tmp_path / "docs.index"
    build_index(folder, MODEL, docs)
    other = CountingModel(prompts={"key": "found: "})
    for embedded in (4, 0):  # the second goes on with the first one's generation
        report, waits = build_index(folder, other, docs)
        assert (report.embedded, report.passages, waits) == (embedded, 4, True)
    with Index.open(folder, MODEL) as index:
        assert index.count() == 4
    Index.swap(folder)
    with Index.open(folder, other) as index:
        assert index.count() == 4
    assert build_index(folder, other, docs)[0].unchanged == 3


def test_pictures_are_found_by_a_picture(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    draws, docs = np.random.default_rng(0), tmp_path / "docs"
    docs.mkdir()
    pictures = {f"{i}.png": draws.integers(0, 256, (40, 40, 3), np.uint8) for i in range(5)}
    for name, picture in pictures.items():
        image.fromarray(picture).save(docs / name)
    (docs / "a.txt").write_text("no picture")
    encoder = nf.encoders.Image(size=32)
    encoder.prepare([ListColumn("image", list(pictures.values()))])
    model = nf.Model(encoder)
    report, _ = build_index(tmp_path / "docs.index", model, docs)
    assert (report.files, report.passed_over) == ({"picture": 5}, {"texts, which the model does not read": 1})
    with Index.open(tmp_path / "docs.index", model) as index:
        [hit] = index.search(pictures["3.png"], k=1)
        assert (hit.fields, hit.text) == ({"file": "3.png"}, None)
    assert build_index(tmp_path / "docs.index", model, docs)[0].read == 0


def test_rows_of_others_stay(tmp_path: Path) -> None:
    docs, folder = documents(tmp_path), tmp_path / "docs.index"
    with nf.Index.create(folder, MODEL) as index:
        index.add([{"id": "mine", "text": "a row of my own"}])
    build_index(folder, MODEL, docs)
    for name in ("a.txt", "c.csv"):
        (docs / name).unlink()
    build_index(folder, MODEL, docs)
    with Index.open(folder, MODEL) as index:
        assert index.count() == 2
        assert index.get("mine") is not None


def child(place: str) -> None:
    """Build, in a process that will be killed; parts are small, and each takes a moment."""
    embed_files._SMALLEST = embed_files._LARGEST = 20

    def told(_: object) -> None:
        print("part", flush=True)
        time.sleep(0.05)

    build_index(Path(place) / "docs.index", CountingModel(), Path(place) / "docs", progress=told)


@pytest.mark.parametrize("turn", range(KILLS))
def test_killed_it_goes_on(tmp_path: Path, turn: int) -> None:
    docs, folder = tmp_path / "docs", tmp_path / "docs.index"
    docs.mkdir()
    for i in range(100):
        (docs / f"{i}.txt").write_text(f"document {i} near and far\n")
    (docs / "table.jsonl").write_text("".join(f'{{"text": "row {i}"}}\n' for i in range(100)))
    code = "import sys; from tests.index.documents.test_build_index import child; child(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == b"part\n"
        time.sleep(turn * 0.013 % 0.2)
        process.send_signal(signal.SIGKILL)
    (docs / "3.txt").unlink()
    (docs / "10.txt").write_text("changed meanwhile")
    with Index.open(folder, MODEL) as index:
        written = index.count()
    assert 50 <= written < 200
    report, _ = build_index(folder, MODEL, docs)
    assert 200 - written - 1 <= report.embedded <= 200 - written + 20 + 1
    with Index.open(folder, MODEL) as index:
        found = [(row.fields["file"], row.text) for row in index.get(index.ids()) if row is not None]
        assert index.verify()["problems"] == []
    texts = {i: f"document {i} near and far" for i in range(100) if i != 3} | {10: "changed meanwhile"}
    expected = [(f"{i}.txt", text) for i, text in texts.items()] + [("table.jsonl", f"row {i}") for i in range(100)]
    assert sorted(found) == sorted(expected)
