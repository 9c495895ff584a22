"""The lines of the page that say how a model is used: they are run as they stand."""

import json
import re
import shlex
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar import cli
from nearfar.contracts import ForeignForm
from nearfar.reports.use import use_lines
from nearfar.storage.examples import examples
from nearfar.storage.foreign import sentence_transformers
from tests.data.test_archives import in_folder
from tests.pictures.samples import encoded, noise

ROWS = [{"query": f"where is number {i}", "key": f"number {i} is here"} for i in range(60)]
SMALL = {"encoder.dim": 16, "encoder.vocabulary": 300, "training.batch_size": 16, "training.steps": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a folder whose name needs quotes."""
    out = tmp_path_factory.mktemp("it's a run") / 'with "quotes"'
    nf.train("static", {"data.path": ROWS, "data.heldout": 0.2, **SMALL}, out=out, quiet=True)
    return out


def shown(folder: Path) -> list[str]:
    html = (folder / "report.html").read_text("utf-8")
    section = html[html.index("How to use it") : html.index("How it got there")]
    return [unescape(line) for line in re.findall(r"<code>(.*?)</code>", section, flags=re.S)]


@pytest.mark.filterwarnings("ignore:.*sentence_transformers.models:DeprecationWarning")
def test_the_lines_of_python_give_the_same_vectors(folder: Path) -> None:
    python, _, foreign = shown(folder)
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    exec(python, ours)
    assert ours["vectors"].shape == (1, 16)
    exec(foreign, theirs)
    np.testing.assert_allclose(theirs["vectors"], ours["vectors"], atol=1e-5)


def test_the_line_of_the_shell_finds_texts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs.txt").write_text("number 1 is here\nwhere it is\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    command = shlex.split(shown(folder)[1])
    assert command[:2] == ["nearfar", "search"]
    assert cli.run([*command[1:], "--json"]) == 0
    assert {hit["text"] for hit in json.loads(capsys.readouterr().out)} == {"number 1 is here", "where it is"}


def test_the_lines_of_a_model_of_pictures_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="the extra images is not installed")
    pytest.importorskip("timm", reason="the extra images is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    pictures = {f"{i}.png": noise(i, 32, 32) for i in range(9)}
    in_folder(tmp_path / "PICTURES", {name: encoded(picture) for name, picture in pictures.items()})
    (tmp_path / "picture.jpg").write_bytes(encoded(pictures["4.png"]))
    nf.Model(nf.encoders.Image(size=32)).save(tmp_path / "m")
    (_, python), (_, shell) = use_lines(Path("m"))
    found: dict[str, Any] = {}
    exec(python, found)
    assert found["vectors"].shape == (8, 256)
    assert cli.run([*shlex.split(shell)[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "4.png"


def test_the_lines_of_a_model_of_pictures_and_words_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="the extra images is not installed")
    pytest.importorskip("timm", reason="the extra images is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    in_folder(tmp_path / "PICTURES", {f"{i}.png": encoded(noise(i, 32, 32)) for i in range(9)})
    texts = nf.encoders.Static(dim=256, vocabulary=300)
    texts.prepare(
        [nf.column.ListColumn("text", ["a dog on a beach", "a photo of a cat", "a blurry close-up of the dog"])]
    )
    model = nf.Model(nf.encoders.Dual(nf.encoders.Image(size=32), texts))
    model.save(tmp_path / "m")
    (_, python), (_, shell) = use_lines(Path("m"))
    made: dict[str, Any] = {}
    exec(python, made)
    assert made["query"].shape == (8, 256) and made["key"].shape == (1, 256)
    pictures = nf.data.Images("PICTURES").column("image").read(0, 9)
    cosines = model.embed(pictures, role="query") @ model.embed(["a dog on a beach"], role="key")[0]
    for line in shell.splitlines():
        words = shlex.split(line, comments=True)
        assert cli.run([*words[1:], "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        if words[1] == "search":
            names = [hit["fields"]["file"] if "fields" in hit else hit["id"] for hit in answer]
            assert names == [f"{i}.png" for i in np.argsort(-cosines, kind="stable")]
            assert not any("text" in hit for hit in answer)
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 10
    # A picture asks pictures and texts, too.
    assert cli.run(["search", "photos.index", "PICTURES/4.png", "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["fields"]["file"] == "4.png"
    Path("lines.txt").write_text("a dog\na beach\n")
    assert cli.run(["search", "m", "lines.txt", "PICTURES/4.png", "--json"]) == 0
    assert {hit["text"] for hit in json.loads(capsys.readouterr().out)} == {"a dog", "a beach"}
    assert cli.run(["embed", "m", "PICTURES", "--out", "vectors.npy", "--json"]) == 0
    capsys.readouterr()
    np.testing.assert_allclose(np.load("vectors.npy"), model.embed(pictures, role="query"), atol=1e-6)


def test_only_what_works_is_named(folder: Path, tmp_path: Path) -> None:
    forms = sentence_transformers(("Router", ""))

    def labels(query: list[str], key: list[str], forms: list[ForeignForm] = forms) -> list[str]:
        return [one.label for one in examples("m", {"query": query, "key": key}, forms, towers=True)]

    whole = [
        "In Python",
        "In a shell; docs.txt holds a text a line",
        "With sentence-transformers from 5.0 on, equal vectors",
    ]
    assert labels(["text"], ["text"]) == labels([], ["text"]) == whole
    pictures = ["In Python", "In a shell; PICTURES is a folder or an archive of pictures"]
    assert labels(["image"], ["image"]) == pictures
    timm = [ForeignForm("timm", example="import timm")]
    assert labels(["image"], ["image"], timm) == [*pictures, "With timm, equal vectors"]
    assert labels(["text"], ["image"]) == pictures and labels(["array"], ["array"]) == ["In Python"]
    mixed = examples("m", {"query": ["text"], "key": ["array"]}, [], towers=True)[0].code
    assert mixed.endswith('query = model.embed(["a question"], role="query")\nkey = model.embed([array], role="key")')
    assert len(use_lines(folder / "model")) == 3
    assert use_lines(tmp_path) == []
    (tmp_path / "nearfar.json").write_text("{half", "utf-8")
    assert use_lines(tmp_path) == []


def test_a_language_model_is_first_used_as_one() -> None:
    form = ForeignForm("transformers", example='model = load("path/to/this/folder")', task="fill-mask")
    found = examples("it's m", {"query": ["text"], "key": ["text"]}, [form], towers=False)
    complete, code, train, python, _ = (example.code for example in found)
    assert shlex.split(complete) == ["nearfar", "complete", "it's m", "the film was [MASK]"]
    assert code == 'model = load("it\'s m")'
    assert "encoder.model=it's m" in shlex.split(train) and python.startswith("import nearfar")


def test_what_the_model_reads_is_in_its_description(folder: Path) -> None:
    described = json.loads((folder / "model" / "nearfar.json").read_text("utf-8"))
    assert described["sides"] == {"query": ["text"], "key": ["text"]} and described["towers"] is False
    assert "sides" not in nf.Model.load(folder / "model").notes
    assert "reads" not in json.loads((folder / "results.json").read_text("utf-8"))
