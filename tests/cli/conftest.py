"""Calling nearfar in this process, and one small trained run for all tests of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from nearfar import cli
from tests.cli.calling import Done, Run
from tests.contracts.samples import write_lines

SMALL = ["encoder.dim=16", "encoder.vocabulary=300", "training.batch_size=16", "training.steps=8", "data.heldout=0.3"]


def call(*words: object, columns: int = 80) -> Done:
    """Run one command in this process and return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": str(columns), "NO_COLOR": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        code = cli.run([str(word) for word in words])
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def nearfar() -> Run:
    return call


def pairs(n: int = 60) -> list[dict[str, Any]]:
    """Return n pairs that a model can learn: a question and its answer share their rare words."""
    draw = random.Random(0)
    colours = ["red", "blue", "green", "grey", "white", "black", "brown", "amber"]
    things = ["fox", "goose", "river", "stone", "cloud", "engine", "garden", "letter", "window", "bridge", "lamp"]
    rows = []
    for i in range(n):
        colour, thing, place = draw.choice(colours), draw.choice(things), draw.choice(things)
        rows.append(
            {
                "id": f"row-{i}",
                "query": f"where is the {colour} {thing} number {i}",
                "key": f"the {thing} which is {colour} lies by the {place}, and is {i}",
            }
        )
    return rows


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with pairs.jsonl and a run trained on it; the cache lies there too."""
    folder = tmp_path_factory.mktemp("workshop")
    write_lines(folder / "pairs.jsonl", pairs())
    with mock.patch.dict(os.environ, {"NEARFAR_CACHE": str(folder / "cache")}), contextlib.chdir(folder):
        done = call("train", "static", "data.path=pairs.jsonl", *SMALL, "--out", "run")
        assert done.code == 0, done.err
        yield folder


@pytest.fixture
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to call from, with the pairs and a copy of the model in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(workshop / "cache"))
    shutil.copy(workshop / "pairs.jsonl", tmp_path)
    shutil.copytree(workshop / "run" / "model", tmp_path / "model")
    return tmp_path


@pytest.fixture
def run_here(here: Path, workshop: Path) -> Path:
    """The same, with a copy of the whole run."""
    shutil.copytree(workshop / "run", here / "run")
    return here
