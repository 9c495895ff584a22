"""Folders and archives of pictures are understood without being told: evaluate, embed, search."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar import encoders
from nearfar.data.images import Images
from nearfar.evaluation import sources
from nearfar.evaluation.choose import look_at_no_training
from nearfar.evaluation.verdict import TRAINED_ON
from nearfar.tasks import Labels, Retrieval
from tests.cli.calling import Run
from tests.data.test_archives import in_folder, in_zip
from tests.pictures.samples import encoded, noise

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


def coloured(folder: str = "", count: int = 10, start: int = 0) -> dict[str, bytes]:
    """Return pictures of one colour a class, with noise."""
    return {
        f"{folder}{name}/{i}.png": encoded(
            (np.array(colour) + noise(start + i, 12, 12) // 10).clip(0, 255).astype("u1")
        )
        for name, colour in COLOURS.items()
        for i in range(count)
    }


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nf.Model:
    """A model of pictures, also in the folder `model` of the folder to call from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(Path(__file__).parents[1] / "encoders")])
    name = "nearfar.encoders.array_encoder"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # gone after the test
    made = nf.Model(module.Tiny(dim=8))
    made.save("model")
    return made


def test_classes_are_judged_on_the_test_folder(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    in_folder(tmp_path / "set", coloured("train/") | coloured("test/", start=100))
    done = nearfar("evaluate", "model", "set", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["task"] == "set, split test"
    assert facts["metrics"]["knn@20"] > 0.9
    task = sources.task("set", None)
    assert isinstance(task, Labels)
    assert (len(task.cells), len(task.train), task.classes) == (30, 30, ["blue", "green", "red"])


def test_where_classes_are_told_by_their_names_every_picture_is_judged(tmp_path: Path, model: nf.Model) -> None:
    in_folder(tmp_path / "set", coloured(""))
    by_names = sources.Reading(no_training=look_at_no_training(["zero_shot"]))
    task, usual = sources.task("set", None, by_names), sources.task("set", None)
    assert isinstance(task, Labels) and isinstance(usual, Labels)
    assert len(task.cells) == len(usual.cells) + len(usual.train) > len(usual.cells)
    assert not look_at_no_training(["zero_shot", "knn"]) and not look_at_no_training([])


def test_pictures_are_not_judged_by_themselves(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    """By their pixels all would be right: each is its own nearest neighbour."""
    in_folder(tmp_path / "set", coloured("train/") | coloured("test/", start=100))
    nearfar("evaluate", "model", "set", "--split", "train").refused("split 'train' itself", "test", "data.heldout=0.2")
    nearfar("evaluate", "model", "set/train", "data.heldout=0").refused("split 'train' itself")
    found = sources.task("set", "train", sources.Reading({"label": None}))
    assert isinstance(found, Retrieval)  # a view of each is not the picture itself


def test_without_a_test_folder_a_fifth_is_held_out(tmp_path: Path, model: nf.Model) -> None:
    in_zip(tmp_path / "set.zip", coloured())
    task = sources.task("set.zip", None)
    assert isinstance(task, Labels)
    assert (task.name, len(task.cells), len(task.train)) == ("set.zip", 6, 24)
    asked = sources.Reading({"heldout": 0.5})
    assert len(sources.task("set.zip", None, asked).cells) == 15  # type: ignore[union-attr]
    model.notes["recipe"] = {"data": {"name": "images", "path": str(tmp_path / "set.zip")}}
    assert TRAINED_ON in sources.task("set.zip", None, model=model).notes
    assert TRAINED_ON in sources.task("set.zip", None, asked, model).notes  # its run held out other rows
    model.notes["recipe"]["data"]["heldout"] = 0.5
    assert TRAINED_ON not in sources.task("set.zip", None, asked, model).notes


def test_without_classes_each_picture_is_found_by_a_view_of_it(tmp_path: Path, model: nf.Model) -> None:
    in_folder(tmp_path / "set", {f"{i}.png": encoded(noise(i)) for i in range(40)})
    task = sources.task("set", None)
    assert isinstance(task, Retrieval)
    assert (len(task.queries), len(task.documents), task.seen) == (8, 40, None)


def test_pictures_are_embedded_with_their_paths(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    in_folder(tmp_path / "set", coloured())
    assert nearfar("embed", "model", "set", "--out", "v.npy").code == 0
    images = Images("set")
    expected = model.embed(images.column("image").read(0, 30))
    assert np.allclose(np.load("v.npy"), expected, atol=1e-6)
    assert sources.texts("set", None, sources.AS_IT_IS)[0] == images.column("path").read(0, 30)
    refused = nearfar("embed", "model", "set", "--out", "v.npy", "--column", "text")
    refused.refused("set: pictures are read as they are; leave column text out")


def test_a_picture_is_looked_for_by_its_path(tmp_path: Path, model: nf.Model, nearfar: Run) -> None:
    in_folder(tmp_path / "set", coloured())
    done = nearfar("search", "model", "set", "set/green/3.png", "-k", "2", "--json")
    assert done.code == 0, done.err
    first, second = json.loads(done.out)
    assert first["id"] == "green/3.png" and second["id"].startswith("green/")
    assert first.keys() == {"id", "score"}
    assert "green/3.png" in nearfar("search", "model", "set", "set/green/3.png").out
    nearfar("search", "model", "set", "nowhere.png").refused("nowhere.png: cannot be read")
    (tmp_path / "odd.png").write_bytes(b"no")
    nearfar("search", "model", "set", "odd.png").refused("odd.png: is no picture of a format")
    nearfar("search", "model", "nowhere.zip", "a.png").refused("nowhere.zip: no such file")
    worded: Any = nearfar("search", "model", "set", "something green")
    worded.refused("reads pictures and no words", "give a picture's path")
