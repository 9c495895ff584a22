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
from nearfar.reports.use import use_lines

TEXTS = {"query": ["text"], "key": ["text"]}
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


def test_only_what_works_is_named(folder: Path, tmp_path: Path) -> None:
    assert use_lines(tmp_path, TEXTS) == []
    assert len(use_lines(folder / "model", None)) == 3  # a folder of sentence-transformers is one of texts
    pictures = use_lines(folder / "model", {"query": ["image"], "key": ["image"]})
    assert [label for label, _ in pictures] == ["In Python"]
    assert "embed([image], " in pictures[0][1]
    mixed = use_lines(folder / "model", {"query": ["text"], "key": ["image"]})
    assert len(mixed) == 1
    (tmp_path / "nearfar.json").write_text("{half", "utf-8")
    assert use_lines(tmp_path, TEXTS) == []
