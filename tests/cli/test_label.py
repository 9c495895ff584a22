"""nearfar label zero-shot: the class of each picture by the names of the classes, and what is refused."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import nearfar as nf
from nearfar import encoders
from nearfar.column import ListColumn
from nearfar.data.images import Images
from nearfar.encoders.dual import Dual
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.text.class_prompts import TEMPLATES
from nearfar.uses.label import write_labels, zero_shot
from tests.cli.calling import Run
from tests.contracts.samples import write_lines
from tests.data.test_archives import in_folder, in_zip
from tests.encoders.known_vectors import BLUE, GREEN, RED, KnownTexts, MeanColours
from tests.pictures.samples import encoded, noise

CALL = ("label", "zero-shot", "model", "set", "--classes", "red thing,blue_thing")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nf.Model:
    """A model whose queries are texts and whose keys are pictures, in `model`; one of pictures alone, in `blind`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(Path(__file__).parents[1] / "encoders")])
    name = "nearfar.encoders.array_encoder"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # gone after the test
    texts = Static(dim=8, vocabulary=300)
    texts.prepare([ListColumn("text", ["a photo of a red thing.", "a blurry photo of the blue thing", "close-up"])])
    nf.Model(module.Tiny(dim=8)).save("blind")
    made = nf.Model(Dual(texts, module.Tiny(dim=8)))
    made.save("model")
    in_folder(tmp_path / "set", {f"{i}.png": encoded(noise(i, 12, 12)) for i in range(9)})
    return made


def expected(model: nf.Model, templates: tuple[str, ...] = TEMPLATES["image"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines (n, 2), by the definition, and the classes (n,)."""
    images = Images("set")
    pictures = model.embed(images.column("image").read(0, len(images)), role="key")
    means = [
        model.embed([text.replace("{}", name) for text in templates], role="query").mean(0)
        for name in ("red thing", "blue thing")
    ]
    cosines = pictures @ np.stack([mean / np.linalg.norm(mean) for mean in means]).T
    return cosines, np.array(["red thing", "blue_thing"])[cosines.argmax(1)]


def test_each_picture_has_a_class_a_cosine_and_a_margin(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    done = nearfar(*CALL, "--out", "labels.csv", "--json")
    assert done.code == 0, done.err
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == Images("set").column("path").read(0, 9)
    cosines, labels = expected(model)
    assert [row["label"] for row in rows] == labels.tolist()
    assert [float(row["cosine"]) for row in rows] == pytest.approx(cosines.max(1), abs=1e-5)
    assert [float(row["margin"]) for row in rows] == pytest.approx(np.ptp(cosines, axis=1), abs=1e-5)
    facts = json.loads(done.out)
    assert facts["classes"] == {name: int((labels == name).sum()) for name in facts["classes"]}
    assert (facts["rows"], facts["templates"]) == (9, list(TEMPLATES["image"]))
    assert facts["sides"] == {"cells": "the key side", "classes": "the query side"}
    surest = facts["examples"]["surest"][0]
    assert surest["margin"] == pytest.approx(np.ptp(cosines, axis=1).max(), abs=1e-5)


def test_templates_json_lines_and_what_people_read(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    done = nearfar(*CALL, "--out", "labels.jsonl", "--template", "the {}", "--template", "a {} here")
    assert done.code == 0, done.err
    assert "9 rows in labels.jsonl, by 2 templates" in done.out and "closest to another class:" in done.out
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == expected(model, ("the {}", "a {} here"))[1].tolist()


def test_an_archive_and_one_picture(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    in_zip(tmp_path / "set.zip", {f"{i}.png": encoded(noise(i, 12, 12)) for i in range(9)})
    assert nearfar(*CALL, "--out", "a.csv").code == 0
    assert nearfar(*CALL[:3], "set.zip", *CALL[4:], "--out", "b.csv").code == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert nearfar(*CALL[:3], "set/4.png", *CALL[4:], "--out", "c.csv").code == 0
    (_, one), (_, *all_of_them) = (
        [line.split(",")[1:] for line in (tmp_path / name).read_text().splitlines()] for name in ("c.csv", "a.csv")
    )
    assert one == all_of_them[4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*CALL[:4], "--out", "l.csv"), ["Missing option '--classes'"]),
        ((*CALL[:5], "", "--out", "l.csv"), ["--classes: there is none", "name two or more"]),
        ((*CALL[:5], "cat", "--out", "l.csv"), ["--classes: there is one, 'cat'"]),
        ((*CALL[:5], "cat,dog,cat", "--out", "l.csv"), ["--classes: 'cat' is there twice"]),
        ((*CALL[:5], "cat,,dog", "--out", "l.csv"), ["--classes: one of the 3 classes is empty"]),
        ((*CALL, "--out", "l.txt"), ["l.txt: unknown kind of file", ".csv or .jsonl"]),
        ((*CALL, "--out", "set/0.png/l.csv"), ["set/0.png"]),
        ((*CALL, "--out", "l.csv", "--template", "a photo"), ["--template: 'a photo' has 0 places"]),
        ((*CALL[:2], "blind", *CALL[3:], "--out", "l.csv"), ["blind reads array, no text", "encoder dual"]),
        ((*CALL[:3], "empty", *CALL[4:], "--out", "l.csv"), ["empty"]),
        ((*CALL[:3], "none.png", *CALL[4:], "--out", "l.csv"), ["none.png: cannot be read"]),
        ((*CALL[:3], "none.zip", *CALL[4:], "--out", "l.csv"), ["none.zip: no such file"]),
        ((*CALL[:3], "odd.png", *CALL[4:], "--out", "l.csv"), ["odd.png: is no picture"]),
        ((*CALL[:3], "set/1.png", *CALL[4:], "--out", "l.csv", "--column", "x"), ["one picture is read as it is"]),
        (("evaluate", "blind", "classes", "--metric", "zero_shot"), ["zero_shot compares", "no text"]),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, model: nf.Model, nearfar: Run, words: tuple[str, ...], said: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.png").write_bytes(b"no")
    of_classes = {f"{name}/{i}.png": encoded(noise(i + 9, 12, 12)) for name in ("cat", "dog") for i in range(5)}
    in_folder(tmp_path / "classes", of_classes)
    nearfar(*words).refused(*said)
    assert not (tmp_path / "l.csv").exists()


def test_texts_are_labelled_where_a_side_reads_them(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    write_lines(tmp_path / "t.jsonl", [{"id": "x", "text": "a red thing"}, {"id": "y", "text": "the blue thing"}])
    nf.Model(model.encoder.query).save("words")
    done = nearfar("label", "zero-shot", "words", "t.jsonl", *CALL[4:], "--out", "l.csv", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["sides"] == {"cells": "the model", "classes": "the model, as queries"}
    assert [line.split(",")[0] for line in (tmp_path / "l.csv").read_text().splitlines()] == ["id", "x", "y"]
    refused = nearfar("label", "zero-shot", "words", "set", *CALL[4:], "--out", "n.csv")
    refused.refused("words reads text, and column 'image' is image")


def test_known_vectors_and_odd_names(tmp_path: Path) -> None:
    known = nf.Model(Dual(MeanColours(), KnownTexts({"tomato": [1, 0, 0], "leaf": [0, 1, 0], "sea": [0, 0.6, 0.8]})))
    found = zero_shot(known, ListColumn("image", [BLUE, RED, GREEN]), ["tomato", "leaf", "sea"])
    assert found.answers.tolist() == [2, 0, 1]
    assert found.cosines == pytest.approx([0.8, 1, 1])
    assert found.margins == pytest.approx([0.8, 1, 0.4])
    assert found.counts() == {"tomato": 1, "leaf": 1, "sea": 1}
    write_labels(tmp_path / "l.csv", ["a,b", 'say "x"', "new\nline"], found)
    with (tmp_path / "l.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["a,b", 'say "x"', "new\nline"]
    with pytest.raises(InputError, match="unknown kind of file"):
        write_labels(tmp_path / "l.parquet", [], found)
    with pytest.raises(InputError, match="has no rows"):
        zero_shot(known, ListColumn("image", []), ["tomato", "leaf"])
